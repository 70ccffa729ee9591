"""Which precision a stage trains in: as its recipe says, or the quicker one here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from training_sample import make_batches, make_model, make_schedule, same_weights

from accrete.training import precision
from accrete.training.device import autocast
from accrete.training.precision import choose_precision, measured_rates

pytestmark = pytest.mark.usefixtures("one_thread")
AUTO = replace(make_schedule(4), precision="auto")
CPU = torch.device("cpu")


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    return make_batches(AUTO).starting_at(0, 0)


def no_batches() -> Iterator[tuple[Tensor, Tensor]]:
    raise AssertionError("nothing is to be tried")
    yield  # pragma: no cover


def have_units(monkeypatch: pytest.MonkeyPatch, units: str | None) -> None:
    monkeypatch.setattr(precision, "bf16_units", lambda _device: units)


def have_rates(monkeypatch: pytest.MonkeyPatch, bf16: float, fp32: float) -> list[int]:
    """Have each try give these rates; return the list of tries."""
    tries: list[int] = []

    def rates(*_: object) -> dict[str, float]:
        tries.append(1)
        return {"bf16": bf16, "fp32": fp32}

    monkeypatch.setattr(precision, "measured_rates", rates)
    return tries


@pytest.mark.parametrize("name", ["bf16", "fp32"])
def test_a_precision_that_the_recipe_names_is_taken_everywhere(name: str, tmp_path: Path) -> None:
    named = replace(AUTO, precision=name)
    assert choose_precision(make_model(), no_batches(), named, choices=tmp_path) == name


def test_without_units_for_bf16_fp32_is_taken_untried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    have_units(monkeypatch, None)
    assert choose_precision(make_model(), no_batches(), AUTO, choices=tmp_path) == "fp32"


def test_a_run_that_must_repeat_itself_takes_fp32_untried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    have_units(monkeypatch, "AMX")
    strict = replace(AUTO, deterministic=True)
    assert choose_precision(make_model(), no_batches(), strict, choices=tmp_path) == "fp32"


@pytest.mark.parametrize(
    ("bf16", "fp32", "chosen"),
    [(200.0, 100.0, "bf16"), (119.0, 100.0, "fp32"), (50.0, 100.0, "fp32")],
)
def test_with_units_the_quicker_one_is_taken_and_remembered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bf16: float, fp32: float, chosen: str
) -> None:
    have_units(monkeypatch, "AVX-512 bf16")
    tries = have_rates(monkeypatch, bf16, fp32)
    told: list[str] = []
    model = make_model()
    for _ in range(2):
        found = choose_precision(
            model, batches(), AUTO, choices=tmp_path / "precision", notice=told.append
        )
        assert found == chosen
    assert len(tries) == 1
    assert told == [
        f"precision {chosen}: a try of both here gave {bf16:,.0f} images/s in bf16 "
        f"(AVX-512 bf16), {fp32:,.0f} in fp32"
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda note: note.write_bytes(b""),
        lambda note: note.write_text("[]"),
        lambda note: note.write_text('{"images_per_s": {"bf16": 1.0}}'),
        lambda note: note.write_text('{"images_per_s": {"bf16": 1.0, "fp32": 0}}'),
        lambda note: note.unlink(),
    ],
)
def test_a_note_that_cannot_be_used_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    have_units(monkeypatch, "AMX")
    tries = have_rates(monkeypatch, 3.0, 1.0)
    for _ in range(2):
        assert choose_precision(make_model(), batches(), AUTO, choices=tmp_path) == "bf16"
        (note,) = tmp_path.iterdir()
        content = json.loads(note.read_bytes())
        assert content == {"images_per_s": {"bf16": 3.0, "fp32": 1.0}}
        damage(note)
    assert len(tries) == 2


def test_where_nothing_can_be_remembered_it_is_tried_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    have_units(monkeypatch, "AMX")
    have_rates(monkeypatch, 3.0, 1.0)
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "precision"
    assert choose_precision(make_model(), batches(), AUTO, choices=place) == "bf16"


def test_another_batch_or_image_size_is_tried_for_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    have_units(monkeypatch, "AMX")
    tries = have_rates(monkeypatch, 3.0, 1.0)
    images, labels = next(batches())
    model = make_model()
    for given in ((images, labels), (images[:2], labels[:2]), (images[..., :-1], labels)):
        choose_precision(model, iter([given]), AUTO, choices=tmp_path)
    model.head = nn.Linear(model.head.in_features, model.head.out_features + 5)
    choose_precision(model, iter([(images, labels)]), AUTO, choices=tmp_path)
    assert len(tries) == 3  # more classes change nothing


def test_the_try_is_of_real_steps_and_leaves_the_model_alone() -> None:
    model, same = make_model(), make_model()
    rates = measured_rates(model, next(batches()), AUTO)
    assert set(rates) == {"bf16", "fp32"}
    assert all(0 < rate < 1e9 for rate in rates.values())
    assert same_weights(model, same)
    assert all(parameter.grad is None for parameter in model.parameters())


def units_with(**env: str) -> str:
    """Return the units that a new process finds."""
    code = (
        "import torch; from accrete.training.device import bf16_units; "
        "print(bf16_units(torch.device('cpu')))"
    )
    plain = {name: value for name, value in os.environ.items() if name != "ATEN_CPU_CAPABILITY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=plain | env, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.slow
def test_units_are_those_that_torch_is_told_to_use() -> None:
    """What an older CPU has: told so, torch computes as it would there."""
    assert units_with(ATEN_CPU_CAPABILITY="avx2") == "None"
    flags = Path("/proc/cpuinfo").read_text()
    if "avx512_bf16" in flags:
        assert units_with() in ("AVX-512 bf16", "AMX")
    elif "asimd" not in flags:
        assert units_with() == "None"


@pytest.mark.parametrize(("name", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_block_computes_in_the_precision_that_is_asked_for(name: str, dtype: torch.dtype) -> None:
    with autocast(CPU, name):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_no_block_computes_in_a_precision_that_was_not_decided() -> None:
    with pytest.raises(AssertionError), autocast(CPU, "auto"):
        pass
