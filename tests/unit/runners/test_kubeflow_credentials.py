"""What goes with a request where the user gives nothing: what kfp's own client would send."""

from pathlib import Path

import pytest

from accrete.errors import AccreteError, ConfigError
from accrete.runners.kubeflow import access
from accrete.runners.kubeflow.access import Access, Credentials

INSIDE, OUTSIDE = "http://ml-pipeline.kubeflow.svc.cluster.local:8888", "https://kfp.example.com"
CONTEXT = """{"client_authentication_header_name": "%s",
              "client_authentication_header_value": "%s"}"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("KFP_TOKEN", "KFP_COOKIE", "KF_PIPELINES_SA_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config/kfp").mkdir(parents=True)
    return tmp_path


def test_nothing_is_sent_where_nothing_is_known() -> None:
    credentials = Credentials(Access(), OUTSIDE)
    assert credentials.headers() == {}
    assert credentials.words == ""
    assert not credentials.renew()


def test_a_pod_s_own_token_goes_to_services_of_its_cluster_alone(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = home / "token"
    mounted.write_text("of-the-pod")
    monkeypatch.setattr(access, "_SA_TOKEN", str(mounted))
    assert Credentials(Access(), INSIDE).headers() == {"Authorization": "Bearer of-the-pod"}
    assert Credentials(Access(), OUTSIDE).headers() == {}


def test_the_header_of_kfp_s_context_is_sent(home: Path) -> None:
    path = home / ".config/kfp/context.json"
    path.write_text(CONTEXT % ("x-user", "me@example.com"))
    assert Credentials(Access(), OUTSIDE).headers() == {"x-user": "me@example.com"}
    path.write_text(CONTEXT % ("x: y", "z"))
    with pytest.raises(ConfigError, match="is no header"):
        Credentials(Access(), OUTSIDE)
    path.write_text("[")
    with pytest.raises(AccreteError, match=r"context\.json"):
        Credentials(Access(), OUTSIDE)


def test_what_the_user_gives_takes_the_place_of_what_kfp_finds(home: Path) -> None:
    (home / ".config/kfp/context.json").write_text('{"client_authentication_cookie": "a=b"}')
    token = home / "token"
    token.write_text("mine")
    assert Credentials(Access(), OUTSIDE).headers() == {"Cookie": "a=b"}
    given = Credentials(Access(token_file=token), OUTSIDE)
    assert given.headers() == {"Authorization": "Bearer mine"}


def test_secrets_are_taken_out_of_others_words(home: Path) -> None:
    cookie, token = home / "cookie", home / "token"
    cookie.write_text("session=secret-session; other=secret-other")
    token.write_text("secret-token")
    credentials = Credentials(Access(cookie_file=cookie, token_file=token), OUTSIDE)
    said = "no secret-token, secret-session or secret-other; session=secret-session"
    assert "secret" not in credentials.without_secrets(said)


def test_secure_cookies_of_a_browser_s_file_go_over_tls_alone(home: Path) -> None:
    path = home / "cookies.txt"
    path.write_text("kfp.example.com\tFALSE\t/\tTRUE\t0\tsession\tvalue\n")
    assert Credentials(Access(cookie_file=path), OUTSIDE).headers() == {"Cookie": "session=value"}
    with pytest.raises(ConfigError, match=r"cookie for kfp\.example\.com that goes over TLS alone"):
        Credentials(Access(cookie_file=path), OUTSIDE.replace("https", "http"))


@pytest.mark.parametrize(
    ("expires", "is_sent"),
    [("0", True), ("-1", True), ("", True), ("4102444800.5", True), ("1.5", False), ("x", False)],
)
def test_a_cookie_s_end_is_read_as_browsers_write_it(
    expires: str, is_sent: bool, home: Path
) -> None:
    path = home / "cookies.txt"
    path.write_text(f"kfp.example.com\tFALSE\t/\tFALSE\t{expires}\tsession\tvalue\n")
    if is_sent:
        assert Credentials(Access(cookie_file=path), OUTSIDE).words
        return
    with pytest.raises(ConfigError, match="that is still valid"):
        Credentials(Access(cookie_file=path), OUTSIDE)
