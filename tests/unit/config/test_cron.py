"""When Kubeflow looks: five fields, or six with seconds."""

import pytest

from accrete.config.cron import check_cron
from accrete.errors import ConfigError


@pytest.mark.parametrize(
    "text",
    [
        "0 * * * *",
        "*/15 0-6,18-23 1,15 jan-MAR mon-fri",
        "30 0 9 ? * 1",
        "0 9/2 * * 0",
    ],
)
def test_times_that_recur(text: str) -> None:
    check_cron(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 * * *", "five fields"),
        ("hourly", "five fields"),
        ("99 99 99 99 99", "minute is '99'.*0 to 59"),
        ("a b c d e", "minute is 'a'"),
        ("0 24 * * *", "hour"),
        ("0 0 0 * *", "day is '0': .*1 to 31"),
        ("0 0 * mon *", "month is 'mon': .* or jan to dec"),
        ("0 0 * * 7", "weekday is '7': .*0 to 6"),
        ("0 0 * * fri-mon", "weekday"),
        ("*/0 * * * *", "minute"),
        ("0 ,1 * * *", "hour"),
        ("60 0 0 * * *", "second is '60'"),
    ],
)
def test_what_never_comes_is_refused_with_the_field(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_cron(text)
