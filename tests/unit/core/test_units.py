"""Sizes as people write them."""

import re

import pytest

from accrete.core.units import parse_bytes
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
