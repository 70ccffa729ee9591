"""Predictions: the network's own probabilities, in order, whatever the batches are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from model_sample import CLASS_NAMES, make_trained
from PIL import Image

from accrete.errors import BadImageError, ConfigError
from accrete.models.predictor import Prediction, Predictor, TrainedModel, predict_files

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), np.uint8)


def predictor(
    trained: TrainedModel | None = None, top: int | None = 2, batch: int = 4
) -> Predictor:
    return Predictor(trained or make_trained(), CPU, top=top, batch_size=batch)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """The images as PNG files."""
    paths = [tmp_path / f"{number}.png" for number in range(len(IMAGES))]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image[:, :, 0]).save(path)
    return paths


def predicted(
    files: list[Path], trained: TrainedModel | None = None, *, batch: int = 4, skip: bool = False
) -> tuple[list[Prediction], list[str]]:
    """Return the predictions, and what was told beside them."""
    told: list[str] = []
    found = predict_files(predictor(trained, batch=batch), files, skip_bad=skip, tell=told.append)
    return list(found), told


def test_probabilities_are_those_of_a_plain_computation() -> None:
    trained = make_trained()
    pixels_NCHW = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        logits = trained.network.double()((pixels_NCHW / 255 - 0.5) / 0.25)
    expected = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True)
    trained.network.float()
    found = predictor(trained).probabilities(IMAGES)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-6)
    assert len(set(expected.argmax(1).tolist())) > 1


def test_guesses_are_the_likeliest_classes_in_order() -> None:
    two, every = predictor(top=2), predictor(top=4)
    probabilities = two.probabilities(IMAGES)
    for row, best, ranked in zip(
        probabilities, two.guesses(IMAGES), every.guesses(IMAGES), strict=True
    ):
        assert best == ranked[:2]
        assert sorted(guess.label for guess in ranked) == [0, 1, 2, 3]
        assert [guess.probability for guess in ranked] == sorted(row.tolist(), reverse=True)
        for guess in ranked:
            assert guess.class_name == CLASS_NAMES[guess.label]
            assert guess.probability == row[guess.label]


def test_of_equal_probabilities_the_earlier_label_comes_first() -> None:
    trained = make_trained()
    with torch.no_grad():
        trained.network.head.weight.zero_()
        trained.network.head.bias.zero_()
    guesses = predictor(trained, top=4).guesses(IMAGES)
    assert [[guess.label for guess in row] for row in guesses] == [[0, 1, 2, 3]] * len(IMAGES)


@pytest.mark.parametrize("top", [0, -1, 5])
def test_more_or_fewer_classes_than_there_are_is_refused(top: int) -> None:
    with pytest.raises(ConfigError, match=rf"top is {top}: .* 4 classes, .* from 1 to 4"):
        predictor(top=top)


def test_three_classes_are_told_unless_asked_otherwise() -> None:
    assert predictor(top=None).top == 3


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_of_no_image_is_refused(batch: int) -> None:
    with pytest.raises(ConfigError, match=f"batch size is {batch}"):
        predictor(batch=batch)


@pytest.mark.parametrize("batch", [1, 3, 10, 64])
def test_every_image_comes_once_and_in_order_whatever_the_batch(
    batch: int, files: list[Path]
) -> None:
    found, told = predicted(files, batch=batch)
    assert [prediction.file for prediction in found] == files
    assert told == []
    expected = predictor().guesses(IMAGES)
    for prediction, guesses in zip(found, expected, strict=True):
        assert [g.label for g in prediction.guesses] == [g.label for g in guesses]
        values = [g.probability for g in prediction.guesses]
        assert values == pytest.approx([g.probability for g in guesses], abs=1e-5)


def test_a_bad_image_stops_the_rest_and_is_named(files: list[Path]) -> None:
    files[5].write_bytes(files[5].read_bytes()[:40])
    with pytest.raises(BadImageError, match=r"5\.png cannot be decoded"):
        predicted(files)


def test_bad_images_are_left_out_and_counted_where_that_is_asked_for(files: list[Path]) -> None:
    whole, _ = predicted(files)
    for number in (0, 4, 5, 6, 7):
        files[number].write_bytes(b"")
    found, told = predicted(files, skip=True)
    assert [prediction.file for prediction in found] == [files[n] for n in (1, 2, 3, 8, 9)]
    assert [p.guesses[0].label for p in found] == [
        whole[n].guesses[0].label for n in (1, 2, 3, 8, 9)
    ]
    assert told == [f"bad images left out: 5, the first is {files[0]}"]


def test_what_is_done_to_colour_and_size_is_said_once(files: list[Path], tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"colour{number}.png"
        Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(path)
        files.append(path)
    found, told = predicted(files)
    assert len(found) == 13
    assert [note.split(" ", 1)[1] for note in told] == [
        "is in colour and the model takes grey: such images are converted",
        "has 12x9 px, all training images had 8x8: such images are scaled to cover that, and "
        "cropped",
    ]
    assert all(note.startswith(str(tmp_path / "colour0.png")) for note in told)


def test_scaling_is_nothing_to_tell_where_training_images_were_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 12), np.uint8)).save(tmp_path / "a.png")
    trained = make_trained(preprocessing="short-side-center-crop")
    assert predicted([tmp_path / "a.png"], trained)[1] == []


def test_a_colour_model_takes_grey_images(files: list[Path]) -> None:
    found, told = predicted(files, make_trained(channels=3))
    assert len(found) == 10
    assert told == []
