"""How pages show figures, and which documents they refuse."""

import pytest

from accrete.core.units import MISSING
from accrete.errors import InputError
from accrete.reports._page import (
    check_rendered_format,
    format_decimals,
    format_ratio,
    format_short,
    render_page,
)


def test_document_of_another_format_is_refused_with_both_numbers() -> None:
    check_rendered_format("study", 1, 1)
    with pytest.raises(InputError, match=r"the study has format 3, .* renders format 1"):
        check_rendered_format("study", 3, 1)


def test_value_that_a_page_is_not_given_is_an_error_and_not_a_blank() -> None:
    with pytest.raises(Exception, match="'report' is undefined"):
        render_page("report.html.j2")


def test_missing_figure_is_a_dash() -> None:
    assert format_decimals(None, 2) == format_short(None) == format_ratio(None) == MISSING


def test_figures_have_thousands_separators_and_fixed_decimals() -> None:
    assert format_decimals(1234.567, 1) == "1,234.6"
    assert format_ratio(1.1184) == "1.12×"
    assert [format_short(number) for number in (7.0, 7.25, 12000)] == ["7", "7.25", "12,000"]
