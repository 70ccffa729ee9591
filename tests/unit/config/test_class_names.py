"""Names of classes: what is taken, and what would confuse a reader or a file of names."""

import pytest

from accrete.config.classes import check_class_names
from accrete.errors import LabelError, one_line


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "Cat", "CAT"),
        ("猫", "Käfer", "🐈", "T-shirt/top", " cat", "..", "a" * 255),
        ("0", "00"),
        (),
    ],
)
def test_names_that_a_person_can_tell_apart_are_taken(names: tuple[str, ...]) -> None:
    check_class_names(names, "here")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a"), r"here names class 'a' twice"),
        (("e\u0301", "\u00e9"), r"differ in their Unicode form only \('e\\u0301' and '\\xe9'\)"),
        (("",), r"a class without a name \(''\)"),
        (("\u00a0 ",), "a class without a name"),
        (("x" * 256,), "a class name of 256 characters"),
        (("a\0b",), r"has class 'a\\x00b', with a control character"),
        (("a\u2028b",), "with a control character"),
        (("\udcff",), r"has class '\\udcff', with a control character or text that is no UTF-8"),
    ],
)
def test_other_names_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(LabelError, match=message) as raised:
        check_class_names(names, "here")
    assert "\n" not in str(raised.value)


def test_a_message_is_one_line_that_moves_no_cursor() -> None:
    assert one_line("a\nb\t c") == "a b c"
    assert one_line("red \x1b[31m \udcff ü 猫") == r"red \x1b[31m \udcff ü 猫"
