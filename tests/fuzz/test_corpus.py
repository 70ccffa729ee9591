"""The fuzzers' corpora, and changes of real objects, through every reader: without atheris."""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import mutators
import pytest
import seeds
import targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accrete.catalog.manifests import DatasetManifest, dump_dataset, load_dataset
from accrete.core.hashing import canonical_json
from accrete.core.serialization import from_json, to_json
from accrete.core.untrusted import decode_json

CORPUS = Path(__file__).parent / "corpus"
MAX_CORPUS_BYTES = 1 << 20

EACH = pytest.mark.parametrize("name", list(targets.TARGETS))
FEW = settings(max_examples=60, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def real_objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Seeds of each target."""
    return seeds.seeds(tmp_path_factory.mktemp("seeds"))


@EACH
def test_no_input_of_the_corpus_is_a_finding(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir())
    assert inputs
    for path in inputs:
        targets.run_target(name, path.read_bytes())


def test_the_corpora_are_small_and_all_of_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(targets.TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MAX_CORPUS_BYTES


@EACH
def test_real_objects_are_taken(name: str, real_objects: dict[str, list[bytes]]) -> None:
    for content in real_objects[name]:
        assert targets.refusal_of(name, content) == ""


@EACH
def test_real_objects_cut_short_or_with_a_flipped_bit_are_no_finding(
    name: str, real_objects: dict[str, list[bytes]]
) -> None:
    rng = random.Random(name)
    for content in real_objects[name]:
        for length in rng.sample(range(len(content)), min(40, len(content))):
            targets.run_target(name, content[:length])
        for place in rng.sample(range(8 * len(content)), 40):
            flipped = bytearray(content)
            flipped[place // 8] ^= 1 << place % 8
            targets.run_target(name, bytes(flipped))


@pytest.mark.parametrize("name", list(mutators.MUTATORS))
@FEW
@given(seed=st.integers(0, 2**32))
def test_real_objects_with_changed_parts_are_no_finding(
    name: str, real_objects: dict[str, list[bytes]], seed: int
) -> None:
    content = random.Random(seed).choice(real_objects[name])
    for step in range(4):
        content = mutators.MUTATORS[name](content, 1 << 16, _shuffled, seed + step)
        targets.run_target(name, content)


def _shuffled(data: bytes, max_size: int) -> bytes:
    """Stand for libFuzzer's own mutation."""
    rng = random.Random(data)
    changed = bytearray(data[:max_size])
    for _ in range(min(3, len(changed))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


@EACH
@FEW
@given(data=st.binary(max_size=400))
def test_any_bytes_are_no_finding(name: str, data: bytes) -> None:
    targets.run_target(name, data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(value=JSON)
def test_json_that_we_write_is_read_as_it_was(value: object) -> None:
    try:
        text = canonical_json(value)
    except (UnicodeEncodeError, ValueError):
        return
    assert canonical_json(decode_json(text)) == text


@given(value=JSON)
def test_no_json_value_is_taken_for_a_manifest_or_breaks_its_reader(value: object) -> None:
    refused = _refuses(lambda: from_json(DatasetManifest, value, "manifest"))
    assert refused


def _refuses(read: Callable[[], object]) -> bool:
    from accrete.errors import ConfigError

    try:
        read()
    except ConfigError:
        return True
    return False


def test_a_manifest_that_is_read_is_written_as_it_was(
    real_objects: dict[str, list[bytes]],
) -> None:
    (content,) = real_objects["dataset"]
    decoded = decode_json(content)
    digest = from_json(DatasetManifest, decoded, "manifest").digest
    manifest = load_dataset(decoded, digest, "manifest")
    assert dump_dataset(manifest) == content
    assert to_json(manifest) == decoded


def test_the_targets_load_no_fuzzer() -> None:
    assert "atheris" not in sys.modules
