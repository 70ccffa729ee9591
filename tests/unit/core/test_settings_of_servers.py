"""What a server that this program starts is told of its environment."""

import pytest

from accrete.core.settings import server_environment


def test_a_server_of_ours_gets_nobody_s_keys_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"AWS_ACCESS_KEY_ID", "ACCRETE_S3_SECRET_KEY", "HTTPS_PROXY", "no_proxy"}
    for name in names:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("LANG", "C")
    found = server_environment()
    assert found["LANG"] == "C"
    assert not {"AWS_ACCESS_KEY_ID", "ACCRETE_S3_SECRET_KEY", "HTTPS_PROXY", "no_proxy"} & set(
        found
    )
