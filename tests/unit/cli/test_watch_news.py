"""What `accrete watch` says of looks that find the same again and again."""

import pytest

from accrete.cli.watch import NewsTeller


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([["a", "b"]], ["a", "b"]),
        ([["a", "b"], ["a", "b"], ["a", "b"]], ["a", "b"]),
        ([["a", "b"], ["a", "c"]], ["a", "b", "a", "c"]),
        ([["a"], ["a", "b"], ["a", "b"]], ["a", "a", "b"]),
        ([["a", "b"], ["b"], ["b"]], ["a", "b", "b"]),
        ([["a", "b"], ["a"], ["a"]], ["a", "b", "a"]),
    ],
)
def test_a_look_that_finds_what_the_last_one_found_says_nothing(
    looks: list[list[str]], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    news = NewsTeller()
    for look in looks:
        news.begin()
        for line in look:
            news.say(line)
    news.begin()
    assert capsys.readouterr().out.splitlines() == expected
