"""Arrow files as a source: what `save_to_disk` of Hugging Face's datasets writes."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from source_sample import entries_of, png, read_all, structs

from accrete.config.run import SourceConfig
from accrete.data.sources.opening import Source, open_source
from accrete.errors import SourceError


def open_arrow(place: Path, **options: Any) -> Source:
    return open_source(SourceConfig(kind="arrow", location=str(place), **options))


def write_arrow(
    path: Path,
    columns: Mapping[str, Any],
    names: Sequence[str] | None = None,
    *,
    form: str = "stream",
    compression: str | None = None,
) -> None:
    table = pa.table(dict(columns))
    if names is not None:
        features = {"label": {"_type": "ClassLabel", "names": list(names)}}
        note = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": note})
    path.parent.mkdir(parents=True, exist_ok=True)
    new = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as sink, new(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=2)


def saved_split(folder: Path, levels: Sequence[int], labels: Sequence[int]) -> None:
    """Write a split as `Dataset.save_to_disk` does."""
    columns = {"image": structs(levels), "label": labels}
    write_arrow(folder / "data-00000-of-00001.arrow", columns, ["ant", "bee"])
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")


@pytest.mark.parametrize("form", ["stream", "file"])
def test_both_of_arrow_s_formats_are_read(tmp_path: Path, form: str) -> None:
    columns = {"image": structs([1, 2, 3]), "label": [1, 0, 1]}
    write_arrow(tmp_path / "x.arrow", columns, ["ant", "bee"], form=form)
    assert entries_of(open_arrow(tmp_path)) == [
        ("train", "bee", 1), ("train", "ant", 2), ("train", "bee", 3),
    ]  # fmt: skip


def test_a_saved_set_of_splits_is_read(tmp_path: Path) -> None:
    saved_split(tmp_path / "train", [1, 2, 3], [0, 1, 0])
    saved_split(tmp_path / "test", [4], [1])
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = open_arrow(tmp_path)
    assert source.counts() == {"train": {"ant": 2, "bee": 1}, "test": {"ant": 0, "bee": 1}}
    assert {file.reason for file in source.reading().left_out} == {".json"}


def test_a_saved_set_is_what_its_state_lists(tmp_path: Path) -> None:
    saved_split(tmp_path, [1, 2, 3], [0, 1, 0])
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    columns = {"image": structs([9]), "label": [1]}
    for other in ("cache-ab12.arrow", "data-00001-of-00003.arrow"):
        write_arrow(tmp_path / other, columns, ["ant", "bee"])
    source = open_arrow(tmp_path)
    assert source.counts() == {"train": {"ant": 2, "bee": 1}}
    assert [f.place for f in source.reading().left_out if f.reason == "no part of the set"] == [
        "cache-ab12.arrow", "data-00001-of-00003.arrow",
    ]  # fmt: skip


def test_text_labels_and_plain_bytes_are_read(tmp_path: Path) -> None:
    write_arrow(tmp_path / "x.arrow", {"image": [png(1), png(2)], "label": ["b", "a"]})
    assert entries_of(open_arrow(tmp_path)) == [("train", "b", 1), ("train", "a", 2)]


@pytest.mark.parametrize("compression", ["lz4", "zstd"])
def test_compressed_batches_are_refused_before_they_are_unpacked(
    tmp_path: Path, compression: str
) -> None:
    columns = {"image": structs([1] * 4), "label": [0] * 4}
    write_arrow(tmp_path / "x.arrow", columns, compression=compression)
    with pytest.raises(SourceError, match=r"x\.arrow is no Arrow file \(its batches are compress"):
        read_all(open_arrow(tmp_path))


def test_dictionaries_are_refused_by_name(tmp_path: Path) -> None:
    labels = pa.array(["a", "b"]).dictionary_encode()
    write_arrow(tmp_path / "x.arrow", {"image": structs([1, 2]), "label": labels})
    with pytest.raises(SourceError, match="holds a dictionary"):
        read_all(open_arrow(tmp_path))


@pytest.mark.parametrize("data", [b"", b"no table", b"ARROW1\0\0", b"\xff\xff\xff\xff\0\0\0\0"])
def test_a_file_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.arrow").write_bytes(data)
    with pytest.raises(SourceError, match=r"x\.arrow is no Arrow file"):
        open_arrow(tmp_path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    write_arrow(tmp_path / "x.arrow", {"image": structs([1] * 6), "label": [0] * 6})
    whole = (tmp_path / "x.arrow").read_bytes()
    for end in range(600, len(whole) - 8, 97):
        (tmp_path / "x.arrow").write_bytes(whole[:end])
        try:
            source = open_arrow(tmp_path)
            read_all(source)
        except SourceError:
            continue
        assert sum(source.counts()["train"].values()) == 6


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=8)), max_size=4))
def test_any_damage_is_refused_or_gives_rows(changes: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.arrow"
        write_arrow(path, {"image": structs([1] * 4), "label": [0, 1] * 2}, ["ant", "bee"])
        data = bytearray(path.read_bytes())
        for start, new in changes:
            data[start : start + len(new)] = new
        path.write_bytes(data)
        with suppress(SourceError):
            read_all(open_arrow(Path(folder)))
