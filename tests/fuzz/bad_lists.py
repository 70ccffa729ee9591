"""Bad files that say what to plan."""

from pathlib import Path

from bad_kinds import kind, reader_kind

from accrete.cli._adapter import names_in
from accrete.config.classes import check_order
from accrete.config.cost import read_measurements
from accrete.config.run import SourceConfig
from accrete.data.counts import counts_of_file, counts_of_source

reader_kind(
    "counts that are no JSON",
    "counts file DIR/file is not JSON (…)",
    b"cat: 3",
    counts_of_file,
)
reader_kind(
    "counts that are nested too deeply",
    "counts file DIR/file is not JSON (nested too deeply)",
    b"[" * 100_000,
    counts_of_file,
)
reader_kind(
    "counts of one class twice",
    "counts file DIR/file is not JSON ('cat' is there twice in an object)",
    b'{"cat": 3, "cat": 4}',
    counts_of_file,
)
reader_kind(
    "a count that is no number",
    "counts file DIR/file: class 'cat' has 'many', not a number",
    b'{"cat": "many"}',
    counts_of_file,
)
reader_kind(
    "an absurd count",
    "counts file DIR/file: class 'cat' has 1000000000000000000000 images: "
    "give a number from 1 to 9007199254740991",
    b'{"cat": 1000000000000000000000}',
    counts_of_file,
)
kind(
    "a device for a list of names", "class order /dev/zero cannot be read (it is no regular file)"
)(lambda _folder, _: names_in(Path("/dev/zero"), "class order"))
reader_kind(
    "a list of names that is no UTF-8",
    "class order DIR/file cannot be read ('utf-8' codec can't decode byte 0xff in position 0: "
    "invalid start byte)",
    b"\xff\xfe",
    lambda path: names_in(path, "class order"),
)
reader_kind(
    "a list that names a class twice",
    "DIR/file names class 'cat' twice: name each class once",
    b"cat\ndog\ncat\n",
    lambda path: names_in(path, "class order"),
)
reader_kind(
    "a class order with an unknown class",
    "DIR/file names class 'owl', which the data set does not have",
    b"cat\nowl\n",
    lambda path: check_order(names_in(path, "class order"), ["cat"], str(path)),
)
reader_kind(
    "a class order that leaves a class out",
    "DIR/file leaves out 1 classes, the first is 'dog': name them all",
    b"cat\n",
    lambda path: check_order(names_in(path, "class order"), ["cat", "dog"], str(path)),
)
kind(
    "a chosen class that the source does not have",
    "--only-classes names class 'owl', which the source does not have: it has 10, '0', '1', '2' "
    "and 7 more",
)(lambda _folder, _: counts_of_source(SourceConfig(kind="digits", only_classes=("owl",))))
reader_kind(
    "measured costs that are no list",
    "measured costs DIR/file hold no list: give what `accrete study` wrote",
    b"{}",
    read_measurements,
)
