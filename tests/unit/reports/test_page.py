"""How pages show figures, and which documents they refuse."""

import pytest

from accrete.errors import InputError
from accrete.reports._page import (
    check_format,
    format_count,
    format_decimals,
    format_percent,
    format_ratio,
    format_seconds,
    format_short,
    render_page,
)


def test_document_of_another_format_is_refused_with_both_numbers() -> None:
    check_format("study", 1, 1)
    with pytest.raises(InputError, match=r"the study has format 3, .* renders format 1"):
        check_format("study", 3, 1)


def test_value_that_a_page_is_not_given_is_an_error_and_not_a_blank() -> None:
    with pytest.raises(Exception, match="'report' is undefined"):
        render_page("report.html.j2")


def test_missing_figure_is_a_dash() -> None:
    assert (
        format_percent(None)
        == format_count(None)
        == format_decimals(None, 2)
        == format_short(None)
        == format_ratio(None)
        == "–"
    )


def test_figures_have_thousands_separators_and_fixed_decimals() -> None:
    assert format_percent(0.98611).replace("\xa0", " ") == "98.6 %"
    assert format_count(12034.4) == "12,034"
    assert format_decimals(1234.567, 1) == "1,234.6"
    assert format_ratio(1.1184) == "1.12×"
    assert [format_short(number) for number in (7.0, 7.25, 12000)] == ["7", "7.25", "12,000"]


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
    assert format_seconds(seconds).replace("\xa0", " ") == text
