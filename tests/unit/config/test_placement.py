"""Where steps run: image references, GPUs of each stage, names, ranges."""

import re
from typing import Any

import pytest
from click.testing import CliRunner

from accrete.cli.study import study_command
from accrete.cli.sweep import compare_command
from accrete.config.allocation import FewestNodes, GrowingGpus, parse_nodes
from accrete.config.placement import DEFAULT_IMAGE, Placement
from accrete.errors import ConfigError


@pytest.mark.parametrize(
    "image",
    [
        DEFAULT_IMAGE,
        "accrete",
        "registry.example.com:5000/team/accrete-trainer:1.0",
        "a/b@sha256:" + "0f" * 32,
        "a/b:1.0@sha256:" + "0f" * 32,
        "Registry.Example.com/team/trainer",
        "[fd00::1]:5000/team/trainer:1",
        "localhost:5000/trainer",
        "a" * 255 + ":1.0",
    ],
)
def test_image_reference_is_accepted(image: str) -> None:
    assert Placement(image=image).image == image


@pytest.mark.parametrize(
    "image",
    [
        "",
        "-x",
        "a b",
        "a@sha256:123",
        "a;b",
        "a\n",
        "A/b",
        "a/B",
        "a//b",
        "a/b:",
        "a/-b",
        "a" * 256,
    ],
)
def test_image_that_is_no_reference_is_refused(image: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"image is {image!r}")):
        Placement(image=image)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gpus": (-1,)}, "GPUs per step is -1:"),
        ({"gpus": (1, 65)}, "GPUs per step is 65:"),
        ({"gpus": (1, 9)}, "a step asks for 9 GPUs, but a node has 8: lower --gpus, or raise"),
        ({"gpus": GrowingGpus(16)}, "a step asks for 16 GPUs, but a node has 8:"),
        ({"gpus": (1,), "max_gpus_per_node": 0}, "a step asks for 1 GPUs, but a node has 0:"),
        ({"max_gpus_per_node": 65}, "GPUs per node is 65:"),
        ({"pull_policy": "Sometimes"}, "image pull policy is 'Sometimes': choose one of Always,"),
        ({"pull_secrets": ("a", "B")}, "image pull secret is 'B':"),
        ({"store_config": "under_score"}, "the store's ConfigMap and Secret is 'under_score':"),
        ({"cache_claim": ""}, "claim of the node cache is '':"),
        ({"gpu_resource": "nvidia.com/"}, "GPU resource is 'nvidia.com/':"),
        ({"gpu_resource": "cpu"}, "GPU resource is 'cpu': give the name that nodes offer it by"),
        ({"gpu_resource": "gpu"}, "GPU resource is 'gpu': give the name"),
        ({"gpu_resource": "kubernetes.io/gpu"}, "GPU resource is 'kubernetes.io/gpu': give"),
        ({"store_ca": "my.ca"}, "ConfigMap of the store's CA is 'my.ca': Kubernetes allows that"),
        ({"store_ca": "a" * 64}, "and a volume's name has at most 63 of a-z, 0-9 and '-'"),
        ({"cache_claim": "my.claim"}, "claim of the node cache is 'my.claim': Kubernetes allows"),
        ({"cache_claim": "dshm"}, "claim of the node cache is 'dshm': a step's pod has a volume"),
        ({"store_ca": "custom-ca"}, "is 'custom-ca': a step's pod has a volume of this name"),
        ({"store_ca": "one", "cache_claim": "one"}, "are both 'one': Kubeflow Pipelines names"),
        ({"other_cpu": "0"}, "CPU of a step that does not train is '0':"),
        ({"other_memory": "12"}, "memory of a step that does not train is '12':"),
        ({"gpu_kinds": ("H 100",)}, "GPU kind is 'H 100':"),
        ({"gpu_kinds": ("",)}, "a GPU kind is empty:"),
        ({"gpu_label": "a/b/c"}, "label of the GPU kind is 'a/b/c':"),
        ({"train_cpu": "four"}, "CPU of a training step is 'four':"),
        ({"train_cpu": "0"}, "CPU of a training step is '0':"),
        ({"train_memory": "16 GB"}, "memory of a training step is '16 GB':"),
        ({"shared_memory": "0.3GB"}, "size of /dev/shm is '0.3GB':"),
        (
            {"node_selector": (("disk", "ssd"), ("disk", "hdd"))},
            "node selector disk is both 'ssd' and 'hdd':",
        ),
        ({"node_selector": (("-disk", "ssd"),)}, "the key of the node selector is '-disk':"),
        ({"pushgateway": "push:9091"}, "Pushgateway is 'push:9091': give http://host:port"),
        ({"pushgateway": "http://u:p@push"}, "Pushgateway is '…@push':"),
        ({"pushgateway": "http://push?token=s3cret"}, "Pushgateway is 'http://push':"),
        ({"pushgateway": "http://push:99999"}, "Pushgateway is 'http://push:99999':"),
        ({"ttl_s": 0}, "seconds that a finished run stays is 0:"),
        ({"gpus": ()}, "GPUs per step are an empty list:"),
        ({"nodes": ()}, "nodes per step are an empty list:"),
        ({"nodes": (0,)}, "nodes per step is 0:"),
        ({"nodes": (2, -1)}, "nodes per step is -1:"),
        ({"nodes": (65,)}, "nodes per step is 65:"),
        ({"nodes": (2,), "gpus": (1025,)}, "GPUs per step is 1025:"),
        ({"node_wait_s": 59}, "seconds that nodes may be waited for is 59:"),
        ({"retries": -1}, "retries is -1:"),
        ({"retries": 21}, "retries is 21:"),
        ({"timeout_s": 59}, "step timeout in seconds is 59:"),
        ({"timeout_s": 2592001}, "step timeout in seconds is 2592001:"),
    ],
)
def test_placement_value_outside_its_range_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Placement(**fields)


def test_names_that_are_no_volume_s_may_have_dots() -> None:
    placement = Placement(store_config="team.store", pull_secrets=("my.registry", "b" * 253))
    assert placement.store_config == "team.store"


def test_placement_without_gpus_is_accepted() -> None:
    assert Placement(gpus=(0,), retries=0, timeout_s=60).gpus_of(range(1, 3)) == 0


def test_one_number_of_gpus_is_every_step_s() -> None:
    assert [Placement(gpus=(2,)).gpus_of(range(n, n + 1)) for n in (1, 2, 30)] == [2, 2, 2]


def test_each_stage_has_the_gpus_that_are_listed_for_it() -> None:
    placement = Placement(gpus=(1, 0, 2, 4))
    assert [placement.gpus_of(range(n, n + 1)) for n in (1, 2, 3, 4)] == [1, 0, 2, 4]


def test_step_of_several_stages_has_the_gpus_of_its_largest() -> None:
    placement = Placement(gpus=(1, 0, 4, 2))
    assert placement.gpus_of(range(1, 3)) == 1
    assert placement.gpus_of(range(2, 5)) == 4


@pytest.mark.parametrize("gpus", [(1, 2), (1, 2, 4, 8)])
def test_gpus_of_another_number_of_stages_are_refused(gpus: tuple[int, ...]) -> None:
    match = f"GPUs are listed for {len(gpus)} stages, but the plan has 3: "
    with pytest.raises(ConfigError, match=match):
        Placement(gpus=gpus).fitted([1, 2, 3], 128)


def test_gpus_that_do_not_divide_the_batch_are_refused_with_the_first_that_does_not() -> None:
    match = "batch size 100 does not divide among 3 GPUs: choose a multiple of 3"
    with pytest.raises(ConfigError, match=match):
        Placement(gpus=(1, 3, 8)).fitted([1, 2, 3], 100)


@pytest.mark.parametrize("gpus", [(0,), (1,), (4,), (0, 1, 2), (64, 32, 16)])
def test_gpus_that_fit_plan_and_batch_are_accepted(gpus: tuple[int, ...]) -> None:
    placement = Placement(gpus=gpus, max_gpus_per_node=64)
    assert placement.fitted([1, 2, 3], 128) == placement


def test_growing_gpus_become_a_number_for_each_stage() -> None:
    placement = Placement(gpus=GrowingGpus(8)).fitted([10, 20, 40, 80, 100], 128)
    assert placement.gpus == (1, 1, 2, 4, 8)
    assert placement.gpus_of(range(3, 5)) == 4


@pytest.mark.parametrize(("gpus", "wants"), [((0,), False), ((0, 1), True), (GrowingGpus(1), True)])
def test_a_placement_says_whether_it_wants_gpus(gpus: Any, wants: bool) -> None:
    assert Placement(gpus=gpus).wants_gpus == wants


@pytest.mark.parametrize(
    ("gpus", "nodes", "message"),
    [
        ((1,), (2,), "stage 1 asks for 2 nodes and 1 GPUs: --gpus counts those of all nodes"),
        ((4, 0, 4), (2,), "stage 2 asks for 2 nodes and 0 GPUs:"),
        ((4, 4, 8), (1, 1, 3), "stage 3 asks for 3 nodes and 8 GPUs: "),
        ((32,), (2,), "a step asks for 32 GPUs, but 2 nodes have 16: lower --gpus"),
        ((16, 16, 16), (2, 1, 2), "a step asks for 16 GPUs, but a node has 8: lower --gpus"),
        ((2,), (2, 2), "nodes are listed for 2 stages, but the plan has 3: "),
    ],
)
def test_gpus_that_cannot_be_spread_over_the_nodes_are_refused(
    gpus: tuple[int, ...], nodes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Placement(gpus=gpus, nodes=nodes).fitted([1, 2, 3], 256)


def test_each_stage_has_as_few_nodes_as_hold_its_gpus() -> None:
    placement = Placement(gpus=GrowingGpus(32), nodes=FewestNodes())
    fitted = placement.fitted([10, 20, 40, 80, 100], 128)
    assert fitted.gpus == (2, 4, 8, 16, 32)
    assert fitted.nodes == (1, 1, 1, 2, 4)
    assert fitted.nodes_of(range(4, 6)) == 4


def test_gpus_that_a_node_cannot_hold_an_equal_part_of_take_more_nodes() -> None:
    assert FewestNodes().of_stages((0, 1, 12, 18, 11), 8) == (1, 1, 2, 3, 11)


@pytest.mark.parametrize(("text", "nodes"), [("2", (2,)), ("1,1,2", (1, 1, 2))])
def test_nodes_are_one_number_or_a_list(text: str, nodes: tuple[int, ...]) -> None:
    assert parse_nodes(text) == nodes


@pytest.mark.parametrize("text", ["", "two", "auto:4", "1;2", "1.5"])
def test_what_is_no_number_of_nodes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"nodes are {text!r}: give 1, 1,1,1,2,2 or")):
        parse_nodes(text)


@pytest.mark.parametrize("purpose", ["compare", "study"])
def test_the_cells_of_a_sweep_have_one_node(purpose: str) -> None:
    arguments = ["--endpoint", "http://127.0.0.1:1", "--nodes", "2", "--gpus", "2"]
    command, more = (
        (compare_command, [])
        if purpose == "compare"
        else (study_command, ["convergence", "--initial", "2", "--add", "1"])
    )
    result = CliRunner().invoke(command(lambda _: None), [*more, *arguments])
    assert isinstance(result.exception, ConfigError)
    assert "--nodes: the cells of a sweep are trained on one node each" in str(result.exception)
