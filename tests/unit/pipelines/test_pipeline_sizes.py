"""However many classes and stages: what a compiled pipeline comes to, and each argument in it.

Linux refuses an argument of 128 KiB, etcd (by default) an object of 1.5 MiB; the Workflow that
Kubeflow makes of a pipeline has its YAML's content, and its nodes' states beside it.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from accrete_pipelines import baseline, incremental
from compiled_sample import on_a_short_stack
from yaml_sample import documents_in

from accrete.config.kubernetes import Toleration
from accrete.config.placement import Placement
from accrete.config.plan import (
    MAX_PIPELINE_STEPS,
    Plan,
    even_counts,
    sizes_by_increment,
)
from accrete.config.recipe import Recipe
from accrete.config.run import ModelConfig, RunConfig, SourceConfig
from accrete.config.sweep import Cell, Sweep
from accrete.runners.pipeline_file import PipelineRequest, compile_to

MAX_ARGUMENT_BYTES = 32 << 10
MAX_YAML_BYTES = 512 << 10

IMAGENET_CLASSES = 21_841
"""Of ImageNet-21k."""

CELL_NAME = "n0000-d0000-of-a-sweep-whose-names-are-as-long-as-they-may-be"


def long_names(number: int) -> tuple[str, ...]:
    """Return names as long as those of WordNet's synsets with all their lemmas."""
    lemma = "greater white-fronted goose, barnacle goose, Branta leucopsis"
    return tuple(f"n{index:08} {lemma}" for index in range(number))


def a_run(num_classes: int, stage_sizes: tuple[int, ...]) -> RunConfig:
    return RunConfig(
        source=SourceConfig(kind="parquet", location="s3://images/all", only_classes=None),
        plan=Plan(
            rule="the list " + ",".join(map(str, stage_sizes)),
            class_order=long_names(num_classes),
            class_images=even_counts(num_classes),
            stage_sizes=stage_sizes,
        ),
        model=ModelConfig(name="vgg19"),
        recipe=Recipe(epochs=(1.5,) * len(stage_sizes), image_sides=(32,) * len(stage_sizes)),
    )


def widest_sweep() -> Sweep:
    """Return a sweep of as many cells as a pipeline holds, each of many stages."""
    sizes = sizes_by_increment(IMAGENET_CLASSES, 10, 10)
    cells = tuple(
        Cell(name=f"{CELL_NAME[:-3]}-{seed}", kind="cell", stage_sizes=sizes, recipe=Recipe())
        for seed in range(10, 10 + MAX_PIPELINE_STEPS)
    )
    return Sweep(
        purpose="comparison",
        rule="alpha = 1 from 10 classes, against from scratch, 3 seeds",
        source=SourceConfig(kind="parquet", location="s3://images/all"),
        class_order=long_names(IMAGENET_CLASSES),
        class_images=even_counts(IMAGENET_CLASSES),
        model=ModelConfig(name="vgg19"),
        cells=cells,
    )


EVERYTHING: dict[str, Any] = {
    "image": "registry.example.com:5000/team/accrete-trainer:0.1.0@sha256:" + "0f" * 32,
    "pull_policy": "IfNotPresent",
    "pull_secrets": ("registry", "registry-2"),
    "gpu_kinds": ("NVIDIA-H100-80GB-HBM3", "NVIDIA-H200"),
    "node_selector": (("disk", "ssd"), ("topology.kubernetes.io/zone", "z1")),
    "cache_claim": "accrete-cache",
    "pushgateway": "http://pushgateway.monitoring.svc:9091",
    "store_ca": "team-ca",
    "data_memory": "20G",
    "other_cpu": "1500m",
    "other_memory": "12Gi",
    "store_config": "team-store",
    "tolerations": (Toleration(key="dedicated", value="training", effect="NoSchedule"),),
    "ttl_s": 86400,
}


def sizes_of(config: RunConfig | Sweep, folder: Path, **placement: Any) -> tuple[int, int]:
    """Return the bytes of a compiled pipeline, and of its longest argument to a process."""
    build = baseline.build_pipeline if isinstance(config, Sweep) else incremental.build_pipeline
    request = PipelineRequest(
        config=config,
        placement=Placement(**EVERYTHING, **placement),
        run_name="r" * 63,
        store_uri="s3://accrete/a-prefix",
    )
    path = folder / "pipeline.yaml"
    on_a_short_stack(lambda: compile_to(build(request), path))
    spec, _ = documents_in(path.read_text())
    return path.stat().st_size, max(map(len, arguments_of(spec)))


def arguments_of(spec: dict[str, Any]) -> list[str]:
    """Return all that a process of the pipeline's is started with, its inputs as KFP hands them."""
    containers = [e["container"] for e in spec["deploymentSpec"]["executors"].values()]
    found = list(itertools.chain(*(c["command"] + c["args"] for c in containers)))
    found.append(json.dumps(spec["root"]["inputDefinitions"]))  # the driver of the whole run
    for task in spec["root"]["dag"]["tasks"].values():
        given = {
            name: spec["root"]["inputDefinitions"]["parameters"][source["componentInputParameter"]]
            if "componentInputParameter" in source
            else source
            for name, source in task["inputs"]["parameters"].items()
        }
        found += [json.dumps(given), json.dumps(task)]
    return found


STAGES = {
    "as on CIFAR-100": (100, (10, 10, 20, 40, 20)),
    "all that an argument takes": (150, (10,) * 15),
    "100 stages": (IMAGENET_CLASSES, sizes_by_increment(IMAGENET_CLASSES, 220, 219)),
    "1,000 stages": (IMAGENET_CLASSES, sizes_by_increment(IMAGENET_CLASSES, 22, 22)),
    "a class a stage": (IMAGENET_CLASSES, sizes_by_increment(IMAGENET_CLASSES, 10, 1)),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(each, marks=pytest.mark.slow if "stage" in each else ()) for each in STAGES],
)
def test_a_pipeline_of_any_plan_is_within_bounds(name: str, tmp_path: Path) -> None:
    num_classes, stage_sizes = STAGES[name]
    whole, argument = sizes_of(a_run(num_classes, stage_sizes), tmp_path)
    assert argument < MAX_ARGUMENT_BYTES
    assert whole < MAX_YAML_BYTES


@pytest.mark.slow
def test_on_several_nodes_too(tmp_path: Path) -> None:
    config = a_run(IMAGENET_CLASSES, STAGES["a class a stage"][1])
    whole, argument = sizes_of(config, tmp_path, gpus=(16,), nodes=(2,))
    assert argument < MAX_ARGUMENT_BYTES
    assert whole < MAX_YAML_BYTES


@pytest.mark.slow
def test_the_widest_sweep_is_within_bounds(tmp_path: Path) -> None:
    whole, argument = sizes_of(widest_sweep(), tmp_path)
    assert argument < MAX_ARGUMENT_BYTES
    assert whole < MAX_YAML_BYTES
