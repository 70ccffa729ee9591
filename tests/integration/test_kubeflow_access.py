"""What answers in Kubeflow's place, and what lets us in: one line each, and never a secret."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from certificates import Authority
from conftest import Cli
from kfp_api import (
    LOGIN_PAGE,
    Gate,
    Handler,
    KfpApi,
    bearing,
    hanging_up,
    kfp_at,
    paging,
    redirecting,
    running,
    saying,
)

from accrete.errors import (
    AccreteError,
    ConfigError,
    PipelineAccessError,
    PipelineError,
    PipelineUnavailableError,
)
from accrete.runners.kubeflow.access import Access
from accrete.runners.kubeflow.client import Kubeflow

SECRET = "very-secret-value"
UI = "<!doctype html><html><head><title>Kubeflow Pipelines</title></head><div id=root>"
NOT_FOUND = "<html><head><title>404 Not Found</title></head><hr>nginx"
K8S = '{"kind":"Status","message":"User \\"system:anonymous\\" cannot get path","code":403}'
FORBIDDEN = (
    '{"error":"x","code":7,"message":"Failed to list runs: User \'a@b.c\' is not authorized '
    'with reason:  (request: namespace: team, verb: list)","details":[]}'
)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that names no credentials and no proxies."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "KFP_TOKEN", "KFP_COOKIE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api() -> Iterator[KfpApi]:
    with kfp_at() as server:
        yield server


def at(server: KfpApi, **access: object) -> Kubeflow:
    return Kubeflow(server.address, Access(**access), patience_s=0)  # type: ignore[arg-type]


def refused(server: KfpApi, **access: object) -> str:
    with pytest.raises(AccreteError) as caught:
        at(server, **access)
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    assert SECRET not in said
    return said


def file_of(folder: Path, text: str, name: str = "secret") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "page", ["", "/", "/#/runs", "/#/runs/details/1?tab=graph", "/apis/v2beta1"]
)
def test_the_address_may_be_a_page_of_the_ui_that_passes_the_api_on(page: str, api: KfpApi) -> None:
    assert Kubeflow(f"{api.address}{page}").base == api.address


@pytest.mark.parametrize("page", ["/pipeline", "/pipeline/#/runs", "/_/pipeline/?ns=team#/runs"])
def test_the_address_may_be_a_page_of_the_dashboard(page: str, api: KfpApi) -> None:
    api.prefix = "/pipeline"
    root = f"http://127.0.0.1:{api.server_port}"
    assert Kubeflow(f"{root}{page}").base == f"{root}/pipeline"


def test_a_wrong_prefix_is_refused_with_the_right_one(api: KfpApi) -> None:
    with pytest.raises(PipelineError, match=f"says 404 .*; here it is {api.address}$"):
        Kubeflow(f"{api.address}/wrong")
    api.prefix = "/pipeline"
    root = f"http://127.0.0.1:{api.server_port}"
    with pytest.raises(PipelineError, match=f"no API of KFP 2 .*; here it is {root}/pipeline$"):
        Kubeflow(root)


def moving(path: str) -> Gate:
    """A gateway that redirects all but what is below a path to there."""

    def gate(handler: Handler) -> bool:
        if handler.path.startswith("/pipeline/"):
            return False
        handler.say("", 301, Location=path.format(handler.path))
        return True

    return gate


@pytest.mark.parametrize("path", ["/pipeline{}", "/pipeline{}/"])
def test_an_api_that_moved_on_its_host_is_named(path: str, api: KfpApi) -> None:
    api.gates = [moving(path)]
    said = refused(api)
    assert f"redirects to {api.address}/pipeline (301): give that" in said
    assert "login" not in said


@pytest.mark.parametrize("path", ["{}", "{}/"])
def test_an_address_that_leads_back_to_itself_is_named(path: str, api: KfpApi) -> None:
    api.gates = [moving(path)]
    said = refused(api)
    assert "redirects in a circle, to http://127.0.0.1:" in said
    assert "login" not in said


@pytest.mark.parametrize(
    "gate",
    [
        paging("<title>Dashboard</title><a href=/oauth2/sign_out>Sign out</a> oauth2"),
        redirecting("/dashboard/login"),
    ],
)
def test_a_dashboard_that_looks_like_a_login_does_not_hide_the_api(gate: Gate, api: KfpApi) -> None:
    root, api.prefix = api.address, "/pipeline"

    def outside(handler: Handler) -> bool:
        return not handler.path.startswith("/pipeline/") and gate(handler)

    api.gates = [outside]
    with pytest.raises(PipelineError, match=f"{root} is not there, but at {root}/pipeline: give"):
        Kubeflow(root)


def test_a_ca_that_nothing_is_checked_with_is_refused(api: KfpApi, tmp_path: Path) -> None:
    said = refused(api, endpoint_ca=file_of(tmp_path, "no certificate"))
    assert "has no effect on http://127.0.0.1:" in said
    assert api.seen == []


def test_an_api_of_version_1_is_named(api: KfpApi) -> None:
    api.has_version_2 = False
    assert "is version 1 (1.8.22), which has no /apis/v2beta1" in refused(api)


LOGINS: list[tuple[str, Gate, str]] = [
    (
        "dex",
        redirecting(f"https://dex.example.com:5556/dex/auth?state={SECRET}"),
        "redirects to a login at dex.example.com:5556 (302)",
    ),
    ("oauth2", redirecting("/oauth2/start?rd=%2F"), "redirects to a login at 127.0.0.1:"),
    ("page", paging(LOGIN_PAGE), 'answers with a page "dex"'),
    ("sign in", paging("<title>Sign In</title><form action=/oauth2/start>", 403), '"Sign In"'),
    ("401", saying("", 401, WWW_Authenticate="Bearer realm=x"), "says 401"),
    ("istio", saying("RBAC: access denied", 403), "Istio, which refuses (403 RBAC: access denied)"),
    ("kubernetes", saying(K8S, 403, "application/json"), "the Kubernetes API: User"),
]


@pytest.mark.parametrize(
    ("gate", "says"), [case[1:] for case in LOGINS], ids=[c[0] for c in LOGINS]
)
def test_a_login_is_named_with_what_to_give(
    gate: Gate, says: str, api: KfpApi, tmp_path: Path
) -> None:
    api.gates = [gate]
    said = refused(api)
    assert says in said
    assert "--token-file" in said
    assert "--cookie-file" in said
    path = file_of(tmp_path, SECRET)
    assert f"does not take the token of {path}" in refused(api, token_file=path)


OTHERS: list[tuple[str, Gate, str]] = [
    ("ui", paging(UI), "a UI without its API: give the address of the KFP API"),
    ("nginx", paging("<!doctype html><title>Welcome to nginx!</title>"), '"Welcome to nginx!"'),
    ("404", paging(NOT_FOUND, 404), "says 404 '404 Not Found'"),
    ("json", saying('{"paths":["/api"]}', 200, "application/json"), "not KFP's (it has paths)"),
    ("list", saying("[]", 200, "application/json"), "answers '[]'"),
    ("empty", saying("", 200), "answers nothing"),
    ("text", saying("OK", 200), "answers 'OK'"),
    (
        "https",
        saying("", 301, Location="https://kfp.example.com/apis/v2beta1/healthz"),
        "redirects to https://kfp.example.com (301): give that",
    ),
    ("plain", saying("Client sent an HTTP request to an HTTPS server.", 400), "speaks TLS"),
    ("407", saying("", 407), "a proxy that asks for a login (407)"),
    ("413", saying("", 413), "takes no pipeline of this size"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("gate", "says"), [case[1:] for case in OTHERS], ids=[c[0] for c in OTHERS]
)
def test_somebody_else_is_named(gate: Gate, says: str, api: KfpApi) -> None:
    api.gates = [gate]
    assert says in refused(api)


AWAY: list[tuple[str, Gate, str]] = [
    ("502", saying("Bad Gateway", 502, Server="nginx"), "says 502 'Bad Gateway'"),
    ("503", saying("no healthy upstream", 503), "says 503 'no healthy upstream'"),
    ("504", saying("", 504), "says 504"),
    ("429", saying("", 429, Retry_After="100"), "says 429"),
    ("ui", saying('{"apiServerReady":false}', 200, "application/json"), "is its UI, whose API"),
    ("cut", hanging_up, "breaks the connection (closed without an answer)"),
]  # fmt: skip


@pytest.mark.parametrize(("gate", "says"), [case[1:] for case in AWAY], ids=[c[0] for c in AWAY])
def test_an_api_that_is_away_is_told_apart(gate: Gate, says: str, api: KfpApi) -> None:
    api.gates = [gate]
    with pytest.raises(PipelineUnavailableError) as caught:
        at(api)
    assert says in str(caught.value)


def test_kfp_s_own_refusal_keeps_its_words(api: KfpApi) -> None:
    kubeflow = at(api)
    api.gates = [saying(FORBIDDEN, 403, "application/json")]
    with pytest.raises(PipelineAccessError, match=r"User 'a@b.c' is not authorized .*--namespace"):
        kubeflow.runs_named("far")


@contextmanager
def raw_server(answer: bytes) -> Iterator[str]:
    """A port that speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "speaks TLS: give https://"),
        (b"\x00\x00\x12\x04\x00\x00", "does not speak HTTP"),  # gRPC: the API's other port
        (b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"a":', "cut short"),
    ],
)
def test_a_port_of_something_else_is_told(answer: bytes, says: str) -> None:
    with raw_server(answer) as address, pytest.raises(PipelineError) as caught:
        Kubeflow(address, patience_s=0)
    assert says in str(caught.value)


def test_tls_needs_the_ca_and_the_option_and_the_usual_variables_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, other = Authority(tmp_path, "ca"), Authority(tmp_path, "other")
    with kfp_at(ca.server("kfp", "127.0.0.1")) as api:
        assert at(api, endpoint_ca=ca.path).base == api.address
        assert "in --endpoint-ca" in refused(api)
        assert f"from no CA in {other.path}" in refused(api, endpoint_ca=other.path)
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(ca.path))
            at(api)
            monkeypatch.delenv(name)
        with pytest.raises(ConfigError, match=r"--endpoint-ca is .* which cannot be read"):
            at(api, endpoint_ca=tmp_path / "nothing.pem")
        nonsense = file_of(tmp_path, "nonsense")
        with pytest.raises(ConfigError, match="holds no CA certificate"):
            at(api, endpoint_ca=nonsense)


@pytest.mark.parametrize(
    ("hosts", "until", "says"),
    [(["example.com"], 1, "is not for 127.0.0.1"), (["127.0.0.1"], -1, "has expired")],
)
def test_a_certificate_that_is_no_good_is_told(
    hosts: list[str], until: int, says: str, tmp_path: Path
) -> None:
    ca = Authority(tmp_path, "ca")
    with kfp_at(ca.server("kfp", *hosts, since=-9, until=until)) as api:
        assert f"has a certificate that {says}" in refused(api, endpoint_ca=ca.path)


def test_http_and_https_are_told_apart(api: KfpApi) -> None:
    with pytest.raises(PipelineError, match="answers without TLS: give http://"):
        Kubeflow(api.address.replace("http:", "https:"), patience_s=0)


def test_a_token_is_read_anew_for_each_request(api: KfpApi, tmp_path: Path) -> None:
    path = file_of(tmp_path, "first-token\n")
    api.gates = [bearing("first-token")]
    kubeflow = at(api, token_file=path)
    api.gates = [bearing("second-token")]
    path.write_text("Bearer second-token")
    assert kubeflow.runs_named("far") == []
    path.unlink()  # just being replaced
    assert kubeflow.runs_named("far") == []


def test_a_token_that_is_replaced_meanwhile_is_tried_once_more(api: KfpApi, tmp_path: Path) -> None:
    path = file_of(tmp_path, "old-token")
    api.gates = [bearing("old-token")]
    kubeflow = at(api, token_file=path)

    def rotating(handler: Handler) -> bool:
        path.write_text("new-token")
        return bearing("new-token")(handler)

    api.gates = [rotating]
    assert kubeflow.runs_named("far") == []


@pytest.mark.parametrize(
    "text",
    [
        "authservice_session=good-session",
        "Cookie: a=1; authservice_session=good-session\n",
        "# Netscape HTTP Cookie File\n\n#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\t"
        "authservice_session\tgood-session\n"
        f"example.com\tTRUE\t/\tFALSE\t0\tother\t{SECRET}\n",
    ],
    ids=["pair", "header", "cookies.txt"],
)
def test_a_login_s_cookie_lets_in(text: str, api: KfpApi, tmp_path: Path) -> None:
    api.gates = [redirecting("https://dex.example.com/auth")]
    at(api, cookie_file=file_of(tmp_path, text))
    assert SECRET not in str(api.headers_seen)


@pytest.mark.parametrize(
    ("option", "text", "says"),
    [
        ("token_file", "", "holds no token"),
        ("token_file", f"{SECRET} two", "holds no token"),
        ("token_file", f"{SECRET}é", "holds no token"),
        ("token_file", f"{SECRET}\nX-Other: {SECRET}", "holds no token"),
        ("token_file", "x" * 70_000, "is too large"),
        ("token_file", f'{{"token": "{SECRET}"}}', "holds no token"),
        ("token_file", f'{{"token":"{SECRET}"}}', "holds no token"),
        ("token_file", f'"{SECRET}"', "holds no token"),
        ("cookie_file", SECRET, "holds no cookie"),
        ("cookie_file", f'{{"session": "a={SECRET}"}}', "holds no cookie"),
        ("cookie_file", f"-b session={SECRET}", "holds no cookie"),
        ("cookie_file", f'"session={SECRET}"', "holds no cookie"),
        ("cookie_file", f"a={SECRET}é", "holds what no header can"),
        (
            "cookie_file",
            f"h.example\tTRUE\t/\tFALSE\t0\tname\t{SECRET}\n",
            "has no cookie for 127.0.0.1",
        ),
        (
            "cookie_file",
            f"127.0.0.1\tFALSE\t/\tFALSE\t1\tname\t{SECRET}\n",
            "that is still valid",
        ),
    ],
)
def test_a_credential_that_is_none_is_refused_by_its_place(
    option: str, text: str, says: str, api: KfpApi, tmp_path: Path
) -> None:
    path = file_of(tmp_path, text)
    said = refused(api, **{option: path})
    assert says in said
    assert str(path) in said
    assert api.seen == []


def test_variables_hold_a_token_and_a_cookie(api: KfpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.gates = [bearing("from-env"), redirecting("https://dex.example.com/auth")]
    monkeypatch.setenv("KFP_TOKEN", "from-env")
    monkeypatch.setenv("KFP_COOKIE", "authservice_session=good-session")
    at(api)
    monkeypatch.setenv("KFP_TOKEN", SECRET)
    assert "does not take the token of KFP_TOKEN and the cookie of KFP_COOKIE" in refused(api)


def test_kfp_s_own_credentials_are_found(
    api: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.gates = [bearing("of-the-account")]
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(file_of(tmp_path, "of-the-account")))
    at(api)
    monkeypatch.delenv("KF_PIPELINES_SA_TOKEN_PATH")
    api.gates = [redirecting("https://dex.example.com/auth")]
    context = tmp_path / "home/.config/kfp/context.json"
    context.parent.mkdir(parents=True)
    context.write_text(
        '{"namespace": "team", "client_authentication_cookie": "authservice_session=good-session"}'
    )
    api.multi_user = True
    assert at(api).namespace == "team"


def test_kfp_s_own_tokens_of_google_are_asked_for_anew(
    api: KfpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kfp.client import auth

    tokens = iter(["first", "second"])
    monkeypatch.setattr(auth, "get_auth_token", lambda *ids: (next(tokens), ids == ()))
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "client")
    api.gates = [bearing("first")]
    kubeflow = at(api)
    api.gates = [bearing("second")]
    assert kubeflow.runs_named("far") == []
    api.gates = [bearing("third")]
    with pytest.raises(ConfigError, match="Google gives no token"):
        at(api)


def test_a_secret_that_is_sent_back_is_not_shown(api: KfpApi, tmp_path: Path) -> None:
    path = file_of(tmp_path, SECRET)
    kubeflow = at(api, token_file=path)
    echo = f'{{"code": 7, "message": "token {SECRET} is no good"}}'
    api.gates = [saying(echo, 403, "application/json")]
    with pytest.raises(PipelineAccessError, match="token … is no good") as caught:
        kubeflow.runs_named("far")
    assert SECRET not in str(caught.value)


def test_several_users_need_a_namespace(api: KfpApi) -> None:
    api.multi_user = True
    assert "has several users (multi_user): give --namespace" in refused(api)
    kubeflow = at(api, namespace="team")
    kubeflow.experiment_id("accrete")
    (experiment,) = api.experiments.values()
    assert experiment["namespace"] == "team"
    with pytest.raises(ConfigError, match="namespace is 'No_Good'"):
        at(api, namespace="No_Good")


def test_one_user_has_no_namespace(api: KfpApi) -> None:
    assert "--namespace team has no effect" in refused(api, namespace="team")


class _Proxy(BaseHTTPRequestHandler):
    """Passes plain requests on, as a proxy is asked: by whole addresses."""

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        asked.append((self.path, self.headers.get("Proxy-Authorization")))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(b'{"multi_user": false, "tag_name": "2.17.0"}')


asked: list[tuple[str, str | None]] = []


def test_proxies_are_used_as_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked.clear()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    with running(proxy):
        monkeypatch.setenv("HTTP_PROXY", f"http://me:pass@127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("http_proxy", f"http://me:pass@127.0.0.1:{proxy.server_port}")
        Kubeflow("http://kfp.example.com:8888")
    assert asked == [("http://kfp.example.com:8888/apis/v2beta1/healthz", "Basic bWU6cGFzcw==")]
    with pytest.raises(PipelineError, match=r"through the proxy http://127.0.0.1:\d+ ") as caught:
        Kubeflow("http://kfp.example.com:8888")
    assert "pass" not in str(caught.value).replace("passes", "")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with kfp_at() as api:
        at(api)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"407 Proxy Authentication Required", "a proxy that asks for a login (407)"),
        (b"403 Forbidden", "through the proxy http://127.0.0.1:"),
    ],
)
def test_a_proxy_that_makes_no_tunnel_is_named(
    answer: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw_server(b"HTTP/1.1 " + answer + b"\r\nContent-Length: 0\r\n\r\n") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        with pytest.raises(PipelineError) as caught:
            Kubeflow("https://kfp.example.com", patience_s=0)
    assert says in str(caught.value)
    assert answer[:3].decode() in str(caught.value)


def test_nothing_is_claimed_before_kfp_is_proved(cli: Cli, api: KfpApi) -> None:
    api.gates = [redirecting("https://dex.example.com/dex/auth")]
    done = cli("run", "--endpoint", api.address, "--watch", "--name", "far")
    assert done.returncode == 1
    assert done.stderr == (
        f"accrete: error: Kubeflow Pipelines at {api.address} redirects to a login at "
        "dex.example.com (302): give a token (--token-file) or the cookie of a login "
        "(--cookie-file)\n"
    )
    assert "submitted" not in done.stdout


@pytest.mark.slow
def test_images_are_not_read_for_a_kubeflow_that_lets_nobody_in(cli: Cli, api: KfpApi) -> None:
    api.gates = [saying("RBAC: access denied", 403)]
    data = ("--source", "parquet", "--data", "s3://accrete/no-such-images")
    done = cli("run", *data, "--endpoint", api.address)
    assert done.returncode == 1
    assert "RBAC: access denied" in done.stderr  # and not that there are no such images


@pytest.mark.slow
def test_a_login_that_expires_while_a_run_is_watched_is_one_line(
    cli: Cli, api: KfpApi, tmp_path: Path
) -> None:
    path = file_of(tmp_path, "the-token")
    api.states = ["RUNNING"]

    def expiring(handler: Handler) -> bool:
        looks = [each for each in api.seen if each[1].count("/v2beta1/runs/")]
        return bearing("the-token" if len(looks) < 2 else "another")(handler)

    api.gates = [expiring]
    options = ("--token-file", str(path), "--watch", "--name", "far")
    done = cli("run", "--endpoint", api.address, *options)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "says 401" in last
    assert "run 'far' goes on: http" in last
    assert "accrete status far" in last
    assert "the-token" not in done.stderr + done.stdout
