"""An arrival as extensions are trained: replay, new head rows, rounds; ended, it goes on."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from digits import digits_run, stage_context

from accrete.catalog.catalog import Catalog
from accrete.catalog.identity import StageSpec, stage_chain
from accrete.catalog.manifests import DatasetManifest, StageManifest
from accrete.config.image_format import Normalization
from accrete.config.run import ModelConfig
from accrete.data.prepare import prepare_dataset
from accrete.errors import ConfigError
from accrete.models.networks import build_model
from accrete.stages._new_rows import set_new_rows
from accrete.stages.inputs import Split
from accrete.stages.run import run_stage
from accrete.store import keys
from accrete.store.cache import NodeCache
from accrete.store.object_store import ObjectStore
from accrete.training.image_source import ResidentImages

pytestmark = pytest.mark.usefixtures("one_thread")


def arriving(
    store: ObjectStore, folder: Path, validation_fraction: float = 0.2
) -> tuple[DatasetManifest, list[StageSpec]]:
    """Return a data set and the stages of a life: five digits, then three more."""
    life = digits_run(5, 3, validation_fraction=validation_fraction, budget_epochs=4.0)
    arrival = dataclasses.replace(
        life.recipe,
        budget_epochs=60.0,
        replay=0.5,
        head_init="means",
        until="retrained-accuracy",
        round_epochs=20.0,
        round_growth=2,
    )
    life = dataclasses.replace(life, arrival=arrival)
    dataset = prepare_dataset(
        life.source, life.plan, Catalog(store), folder / "work", lambda _: lambda _: None
    ).manifest
    return dataset, list(stage_chain(life, dataset))


def record_of(store: ObjectStore, stage: StageManifest) -> dict[str, object]:
    """Return what a stage measured."""
    data = store.read_range(keys.object_key(stage.metrics.sha256), 0, stage.metrics.num_bytes)
    record: dict[str, object] = json.loads(data)
    return record


@pytest.mark.parametrize("ended_after", [1, 100, 144, 145, 400])
@pytest.mark.slow
def test_an_arrival_that_is_ended_in_any_round_goes_on_to_the_same_weights(
    store: ObjectStore, tmp_path: Path, ended_after: int
) -> None:
    dataset, (first, second) = arriving(store, tmp_path)
    assert (second.schedule.round_steps, second.schedule.num_steps) == (144, 432)
    context = stage_context(Catalog(store), NodeCache(tmp_path / "cache", store))
    run_stage(first, dataset, context)
    whole = run_stage(second, dataset, context).manifest
    assert len(record_of(store, whole)["round_top1s"]) == 2
    store.delete(keys.stage_key(second.digest))

    def interrupt(done: int, _loss: float) -> None:
        if done >= ended_after:
            raise KeyboardInterrupt

    ended = dataclasses.replace(context, snapshot_interval_s=0.0, progress=interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_stage(second, dataset, ended)
    notices: list[str] = []
    gone_on = run_stage(second, dataset, dataclasses.replace(context, notice=notices.append))
    assert gone_on.manifest.checkpoint == whole.checkpoint
    assert (ended_after == 1) or any("goes on from a snapshot" in line for line in notices)


def test_rounds_without_validation_images_are_refused_and_nothing_is_published(
    store: ObjectStore, tmp_path: Path
) -> None:
    dataset, (first, second) = arriving(store, tmp_path, validation_fraction=0.0)
    context = stage_context(Catalog(store), NodeCache(tmp_path / "cache", store))
    run_stage(first, dataset, context)
    with pytest.raises(ConfigError, match="its classes have no validation images"):
        run_stage(second, dataset, context)
    assert Catalog(store).stage(second.digest) is None


def test_new_rows_know_their_classes_before_any_training() -> None:
    model = build_model(ModelConfig(name="small"), channels=1, num_classes=4, seed=0)
    generator = torch.Generator().manual_seed(0)
    labels_N = torch.arange(4).repeat_interleave(30)
    bright = 50 * labels_N[:, None, None, None]
    noise = torch.randint(0, 20, (120, 8, 8, 1), generator=generator)
    split = Split(ResidentImages((bright + noise).to(torch.uint8)), labels_N)
    before = model.head.weight.detach().clone()
    set_new_rows(model, split, 2, Normalization(mean=(0.5,), std=(0.25,)))
    assert torch.equal(model.head.weight[:2], before[:2])
    assert model.training
    images = (bright + noise).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        logits_NK = model.eval()((images[60:] - 0.5) / 0.25)
    # The two old rows are random; of the two new ones each knows its own class.
    assert (logits_NK[:, 2:].argmax(1) + 2 == labels_N[60:]).float().mean() > 0.9
