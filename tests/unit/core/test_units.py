"""Numbers, sizes, times and paths as people write and read them."""

import os
import re
from pathlib import Path

import pytest

from accrete.core.units import (
    MISSING,
    format_bytes,
    format_clock,
    format_count,
    format_counted,
    format_path,
    format_percent,
    format_seconds,
    parse_bytes,
)
from accrete.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("1000000", 1_000_000),
        ("1M", 1_000_000),
        ("1000K", 1_000_000),
        ("977Ki", 1_000_448),
        ("512Mi", 536_870_912),
        ("4G", 4_000_000_000),
        ("1.5Gi", 1_610_612_736),
        ("0.5T", 500_000_000_000),
        (" 2Ti ", 2_199_023_255_552),
    ],
)
def test_quantity_becomes_bytes(text: str, num_bytes: int) -> None:
    assert parse_bytes(text, "data memory") == num_bytes


@pytest.mark.parametrize(
    "text",
    [
        "",
        "much",
        "-4G",
        "4g",
        "4 G",
        "4GB",
        "4Gib",
        "1e9",
        ".5G",
        "5.G",
        "G",
        "nan",
        "inf",
        "4G\n4",
    ],
)
def test_quantity_of_another_form_is_refused(text: str) -> None:
    match = re.escape(f"data memory is {text!r}: give at least 1M, in a form such as 512M")
    with pytest.raises(ConfigError, match=match):
        parse_bytes(text, "data memory")


@pytest.mark.parametrize("text", ["0", "999999", "0.9M", "999K", "976Ki"])
def test_quantity_under_a_megabyte_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"data memory is {text!r}: give at least 1M")):
        parse_bytes(text, "data memory")


def test_percent_tells_one_of_ten_thousand_test_images() -> None:
    assert [format_percent(share) for share in (0.98611, 1.0, 0.0)] == [
        "98.61 %",
        "100.00 %",
        "0.00 %",
    ]
    assert [format_percent(0.98611, digits) for digits in (0, 1)] == ["99 %", "98.6 %"]


def test_missing_number_is_a_dash() -> None:
    assert format_percent(None) == format_count(None) == MISSING == "–"


def test_numbers_have_separators_and_nouns() -> None:
    assert format_count(12034.4) == "12,034"
    assert [format_counted(number, "seed") for number in (0, 1, 1200)] == [
        *("0 seeds", "1 seed", "1,200 seeds")
    ]
    assert [format_counted(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (12_900_000, "12.3 MiB"),
        (3 << 30, "3.0 GiB"),
        (2000 << 40, "2,000.0 TiB"),
    ],
)
def test_bytes_are_in_the_unit_that_leaves_few_digits(num_bytes: int, text: str) -> None:
    assert format_bytes(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.5, "1:00"), (725, "12:05"), (3671, "1:01:11")]
)
def test_clock_counts_in_whole_seconds(seconds: float, text: str) -> None:
    assert format_clock(seconds) == text


def test_path_of_any_bytes_can_be_printed() -> None:
    assert format_path(Path("some/b.png")) == "some/b.png"
    assert format_path(Path(os.fsdecode(b"a\xff.png"))) == "a\\xff.png"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.041, "41 ms"),
        (0.9996, "1.0 s"),
        (99.94, "99.9 s"),
        (99.96, "1 min 40 s"),
        (605.4, "10 min 05 s"),
        (11520.0, "3 h 12 min"),
    ],
)
def test_format_seconds_picks_the_reader_s_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text
