"""Where credentials come from, and that they stay good while a stage runs for days."""

import json
import os
import re
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import boto3
import pytest
import urllib3
from certificates import Authority
from conftest import Cli
from credential_servers import (
    ROLE,
    XML,
    Answer,
    Bucket,
    ContainerAgent,
    InstanceMetadata,
    Keys,
    TokenService,
    answering,
    s3_error,
    sts_error,
)
from moto.server import ThreadedMotoServer

from accrete.errors import AccreteError, ConfigError, StoreAccessError, StoreUnreachableError
from accrete.store._ports import free_ports
from accrete.store.object_store import ObjectStore
from accrete.store.settings import parse_store_uri, store_settings

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJl"


def store_of(env: dict[str, str]) -> ObjectStore:
    """Return the store that an environment names."""
    settings = store_settings({"HOME": "/nonexistent"} | env)
    assert settings is not None
    return ObjectStore(settings, parse_store_uri("s3://accrete"))


class Aws:
    """A token service, a bucket and a pod's environment."""

    def __init__(self, lifetime_s: float, folder: Path, stack: ExitStack) -> None:
        self.keys = Keys(lifetime_s)
        self.tokens, self.bucket = TokenService(self.keys), Bucket(self.keys)
        self.token_path = folder / "token"
        self.token_path.write_text(JWT)
        self.env = {
            "ACCRETE_S3_ENDPOINT": stack.enter_context(answering(self.bucket)),
            "AWS_ENDPOINT_URL_STS": stack.enter_context(answering(self.tokens)),
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(self.token_path),
            "AWS_ROLE_ARN": ROLE,
        }


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def aws(tmp_path: Path, stack: ExitStack) -> Aws:
    return Aws(3600, tmp_path, stack)


def test_keys_of_a_web_identity_and_their_token_are_taken_by_moto_s_s3(tmp_path: Path) -> None:
    """Moto checks keys, signature and token, and asks for a signature where STS wants none."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    try:
        given = {
            "endpoint_url": url, "region_name": "us-east-1",
            "aws_access_key_id": "AKIA0123456789ABCDEF", "aws_secret_access_key": "x" * 40,
        }  # fmt: skip
        iam = boto3.client("iam", **given)
        trust = json.dumps({"Version": "2012-10-17", "Statement": []})
        rights = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        iam.create_role(RoleName="steps", AssumeRolePolicyDocument=trust)
        iam.put_role_policy(
            RoleName="steps", PolicyName="store",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [rights]}),
        )  # fmt: skip
        boto3.client("s3", **given).create_bucket(Bucket="accrete")
        (tmp_path / "token").write_text(JWT)
        store = store_of(
            {"ACCRETE_S3_ENDPOINT": url, "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
             "AWS_ROLE_ARN": ROLE, "AWS_ENDPOINT_URL_STS": url}
        )  # fmt: skip
        keys = store.credentials.retrieve()
        urllib3.request("POST", f"{url}/moto-api/reset-auth", body=b"0")
        store.check()
        assert store.create_note("note", b"once")
        assert not store.create_note("note", b"twice")
        assert store.read_note("note") == b"once"
        assert [each.key for each in store.list_objects("")] == ["note"]
        env = {
            "ACCRETE_S3_ENDPOINT": url, "ACCRETE_S3_ACCESS_KEY": keys.access_key,
            "ACCRETE_S3_SECRET_KEY": keys.secret_key,
            "ACCRETE_S3_SESSION_TOKEN": keys.session_token,
        }  # fmt: skip
        assert store_of(env).read_note("note") == b"once"
        assert not store_of(env).create_note("note", b"twice")
        with pytest.raises(
            StoreAccessError, match=r"session token has ended or is not theirs \(In"
        ):
            store_of(env | {"ACCRETE_S3_SESSION_TOKEN": "wrong-token"}).read_note("note")
        with pytest.raises(StoreAccessError, match="ASIA…' of ACCRETE_S3_ACCESS_KEY: check"):
            store_of(env | {"ACCRETE_S3_SECRET_KEY": "wrong-secret"}).read_note("note")
    finally:
        urllib3.request("POST", f"{url}/moto-api/reset-auth", body=b"inf")
        server.stop()


@pytest.mark.slow
def test_web_identity_s_keys_are_renewed_before_they_end_and_by_one_thread(
    tmp_path: Path, stack: ExitStack
) -> None:
    aws = Aws(4, tmp_path, stack)
    store = store_of(aws.env)
    end = time.monotonic() + 9

    def work(number: int) -> int:
        count = 0
        while time.monotonic() < end:
            store.write_note(f"{number}", b"x")
            assert store.read_note(f"{number}") == b"x"
            count += 1
        return count

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(work, range(8)))
    assert aws.bucket.refusals == 0
    assert 3 <= len(aws.tokens.asked) <= 4  # every three seconds


def test_the_token_goes_in_the_body_and_is_read_again_for_each_renewal(aws: Aws) -> None:
    store = store_of(aws.env)
    store.write_note("note", b"x")
    second = JWT.replace("c2ln", "bmV4")
    fresh = aws.token_path.with_name("fresh")
    fresh.write_text(second + "\n")
    fresh.replace(aws.token_path)
    assert store.credentials.renew(store.credentials.retrieve())
    assert [asked.path for asked in aws.tokens.asked] == ["/", "/"]
    bodies = [asked.body.decode() for asked in aws.tokens.asked]
    assert [JWT in body for body in bodies] == [True, False]
    assert [second in body for body in bodies] == [False, True]
    assert all(b"RoleSessionName=accrete" in asked.body for asked in aws.tokens.asked)


@pytest.mark.parametrize("ask", ["read_note", "create_note", "size_of"])
def test_keys_that_the_store_calls_ended_are_renewed_once_and_the_request_repeated(
    ask: str, aws: Aws
) -> None:
    store = store_of(aws.env)
    store.write_note("note", b"old")
    aws.keys.revoked = 1
    asked = {
        "read_note": lambda: store.read_note("note") == b"old",
        "create_note": lambda: store.create_note("new", b"new"),
        "size_of": lambda: store.size_of("note") == 3,
    }
    assert asked[ask]()
    assert (len(aws.tokens.asked), aws.bucket.refusals) == (2, 1)


def test_keys_that_stay_refused_are_not_renewed_again_and_again(aws: Aws) -> None:
    store = store_of(aws.env)
    aws.keys.revoked = 1000
    for _ in range(3):
        with pytest.raises(StoreAccessError, match=f"web identity role {ROLE}: their session tok"):
            store.read_note("note")
    assert len(aws.tokens.asked) == 2


@pytest.mark.slow
def test_a_renewal_that_fails_leaves_what_still_holds_and_then_says_why(
    tmp_path: Path, stack: ExitStack
) -> None:
    aws = Aws(4, tmp_path, stack)
    store = store_of(aws.env)
    store.write_note("note", b"x")
    aws.tokens.failure = sts_error(403, "AccessDenied", "Not authorized to perform it")
    time.sleep(3.3)
    assert store.read_note("note") == b"x"
    assert len(aws.tokens.asked) > 1
    time.sleep(1)
    with pytest.raises(StoreAccessError) as caught:
        store.read_note("note")
    assert str(caught.value) == (
        f"credentials of web identity role {ROLE}: the token service at "
        f"{aws.env['AWS_ENDPOINT_URL_STS']} refuses to give any (403, AccessDenied: Not authorized "
        "to perform it)"
    )
    aws.tokens.failure = None
    time.sleep(2)
    assert store.read_note("note") == b"x"


def test_many_threads_that_begin_together_ask_once(aws: Aws) -> None:
    store = store_of(aws.env)
    start = threading.Barrier(16)

    def ask(_: int) -> str:
        start.wait()
        return str(store.credentials.retrieve().access_key)

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(ask, range(16)))) == 1
    assert len(aws.tokens.asked) == 1


REFUSALS = {
    "expired": (sts_error(400, "ExpiredTokenException", "Token expired"), "ExpiredTokenException"),
    "html": (Answer(200, b"<html>log in</html>"), "answered with something else than cred"),
    "empty": (Answer(200), "answered with something else than credentials"),
    "no XML": (Answer(403, b"\xff\xfe"), r"refuses to give any \(403\)"),
    "redirect": (Answer(302, headers={"Location": "http://elsewhere/"}), r"give any \(302\)"),
    "cut": (Answer(None), r"cannot be reached \(ProtocolError\)"),
    "failing": (Answer(503, b"later"), r"keeps failing \(503\)"),
    "ended": (None, "credentials of web identity role .*: they ended at .* set the clock right"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_token_service_that_gives_nothing_is_one_line(
    name: str, aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accrete.store._retry._wait", lambda _: None)
    failure, said = REFUSALS[name]
    aws.tokens.failure = failure
    if failure is None:
        aws.keys.lifetime_s = -60
    with pytest.raises(AccreteError, match=said) as caught:
        store_of(aws.env).check()
    assert isinstance(caught.value, (StoreAccessError, StoreUnreachableError))
    assert "\n" not in str(caught.value)
    assert JWT not in str(caught.value)


def test_a_token_service_that_nobody_is_at_is_one_line(aws: Aws) -> None:
    address = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(StoreUnreachableError, match=f"service at {address} cannot be reached"):
        store_of(aws.env | {"AWS_ENDPOINT_URL_STS": address}).check()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "which cannot be read"),
        ("", "which holds no credential"),
        ("a b", "which has a blank as character 2 of 3"),
    ],
)
def test_a_token_s_file_that_is_of_no_use_is_named(
    content: str | None, said: str, aws: Aws
) -> None:
    aws.token_path.unlink()
    if content is not None:
        aws.token_path.write_text(content)
    with pytest.raises(
        ConfigError, match=f"AWS_WEB_IDENTITY_TOKEN_FILE is {aws.token_path}, {said}"
    ):
        store_of(aws.env).check()


def test_pod_identity_s_agent_is_asked_with_the_token_of_that_moment(
    tmp_path: Path, stack: ExitStack
) -> None:
    keys = Keys()
    agent = ContainerAgent(keys, "first-token")
    (tmp_path / "auth").write_text("first-token\n")
    store = store_of(
        {
            "ACCRETE_S3_ENDPOINT": stack.enter_context(answering(Bucket(keys))),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": stack.enter_context(answering(agent))
            + "/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "auth"),
        }
    )
    store.write_note("note", b"x")
    agent.token = "second-token"
    keys.revoked = 1
    with pytest.raises(StoreAccessError, match=r"agent at 127.* \(401, InvalidAuthorization: tok"):
        store.read_note("note")
    (tmp_path / "auth").write_text("second-token")
    assert store_of_same(store).read_note("note") == b"x"


def store_of_same(store: ObjectStore) -> ObjectStore:
    return ObjectStore(store.settings, store.address)


def test_an_instance_s_role_is_asked_for_as_version_2_wants_it(stack: ExitStack) -> None:
    keys = Keys()
    metadata = InstanceMetadata(keys)
    endpoint = stack.enter_context(answering(metadata))
    env = {
        "ACCRETE_S3_ENDPOINT": stack.enter_context(answering(Bucket(keys))),
        "ACCRETE_S3_CREDENTIALS": "instance",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": endpoint,
    }
    store = store_of(env)
    store.write_note("note", b"x")
    assert [asked.method for asked in metadata.asked] == ["PUT", "GET", "GET"]
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(StoreUnreachableError, match=f"EC2 instance .* at {nobody} cannot be reach"):
        store_of(env | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": nobody}).check()


def swap(folder: Path, **values: str) -> None:
    """Exchange the files of a mounted Secret as the kubelet does: by one link to their folder."""
    version = folder / f"..{time.monotonic_ns()}"
    version.mkdir(parents=True)
    for name, value in values.items():
        (version / name).write_text(value)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(version.name)
    (folder / "..new").replace(folder / "..data")


def test_keys_in_files_are_read_again_when_the_mounted_secret_changes(
    tmp_path: Path, stack: ExitStack
) -> None:
    keys = Keys()
    bucket = Bucket(keys)

    def mount() -> None:
        made = keys.new()
        swap(tmp_path, key=made["AccessKeyId"], secret=made["SecretAccessKey"], token=made["Token"])

    mount()
    store = store_of(
        {
            "ACCRETE_S3_ENDPOINT": stack.enter_context(answering(bucket)),
            "ACCRETE_S3_ACCESS_KEY_FILE": str(tmp_path / "key"),
            "ACCRETE_S3_SECRET_KEY_FILE": str(tmp_path / "secret"),
            "ACCRETE_S3_SESSION_TOKEN_FILE": str(tmp_path / "token"),
        }
    )
    store.write_note("note", b"x")
    mount()
    keys.revoked = 1
    assert store.read_note("note") == b"x"
    assert bucket.refusals == 0
    (tmp_path / "..data").unlink()  # what cannot be read leaves the keys that hold
    assert store.read_note("note") == b"x"
    mount()
    keys.revoked = 2
    time.sleep(1.1)
    assert store.read_note("note") == b"x"


def script(path: Path, text: str) -> str:
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def profile_env(folder: Path, credentials: str = "", config: str = "") -> dict[str, str]:
    (folder / "credentials").write_text(credentials)
    (folder / "config").write_text(config)
    return {
        "AWS_SHARED_CREDENTIALS_FILE": str(folder / "credentials"),
        "AWS_CONFIG_FILE": str(folder / "config"),
        "AWS_PROFILE": "dev",
    }


def process(made: dict[str, str]) -> str:
    said = {
        "Version": 1,
        "SessionToken": made["Token"],
        **{key: made[key] for key in ("AccessKeyId", "SecretAccessKey", "Expiration")},
    }
    return f"import sys\nprint({json.dumps(json.dumps(said))})\nassert 'two words' in sys.argv\n"


def test_a_profile_s_process_gives_credentials(tmp_path: Path, stack: ExitStack) -> None:
    keys = Keys()
    name = script(tmp_path / "my process", process(keys.new()))
    config = f"[profile dev]\nregion = eu-central-1\ncredential_process = '{name}' 'two words'\n"
    env = profile_env(tmp_path, config=config)
    env["ACCRETE_S3_ENDPOINT"] = stack.enter_context(answering(Bucket(keys)))
    store = store_of(env)
    store.write_note("note", b"x")
    assert str(store.settings.credentials) == f"profile dev of {tmp_path}/credentials"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit(255)", "its command tool ended with 255: run it by hand to see why"),
        ("print('{}')", "its command tool did not print credentials as JSON of version 1"),
        ("print('hello')", "its command tool did not print credentials as JSON of version 1"),
        ("print('{\"Version\": 1}')", "its command did not print keys and their end"),
    ],
)
def test_a_process_that_gives_none_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    name = script(tmp_path / "tool", text)
    env = profile_env(tmp_path, config=f"[profile dev]\ncredential_process = {name} s3cr3t-word\n")
    with pytest.raises(
        StoreAccessError, match=f"credentials of profile dev of .*: {said}"
    ) as found:
        store_of(env | {"ACCRETE_S3_ENDPOINT": "http://127.0.0.1:1"}).check()
    assert "s3cr3t-word" not in str(found.value)


SSO = "[profile dev]\nsso_session = ours\nsso_account_id = 1\nsso_role_name = steps\n"


def test_sso_is_asked_through_aws_s_own_command(
    tmp_path: Path, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys()
    made = keys.new()
    env = profile_env(tmp_path, config=SSO)
    env["ACCRETE_S3_ENDPOINT"] = stack.enter_context(answering(Bucket(keys)))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match=r"it has SSO, for which AWS's command is needed and not"):
        store_of(env).check()
    text = process(made).replace("assert 'two words' in sys.argv", "")
    asked = ["configure", "export-credentials", "--profile", "dev", "--format", "process"]
    script(tmp_path / "aws", f"{text}assert sys.argv[1:] == {asked}, sys.argv\n")
    store_of(env).write_note("note", b"x")
    script(tmp_path / "aws", "import sys; sys.exit('Error loading SSO Token')")
    with pytest.raises(StoreAccessError, match="ended with 1: log in with `aws sso login --profil"):
        store_of(env).check()


def test_a_profile_s_keys_are_read_again_and_may_hold_any_character(
    tmp_path: Path, stack: ExitStack
) -> None:
    seen: list[str] = []

    def answer(asked: object) -> Answer:
        seen.append(re.search(r"Credential=(\w+)", str(asked.headers))[1])  # type: ignore[attr-defined,index]
        return Answer(200, b"<ListBucketResult><Name>accrete</Name></ListBucketResult>", XML)

    keys = "[dev]\naws_access_key_id = AKIAFIRST\naws_secret_access_key = per%cent%(s)s\n"
    env = profile_env(tmp_path, credentials=keys)
    env["ACCRETE_S3_ENDPOINT"] = stack.enter_context(answering(answer))
    store = store_of(env)
    store.check()
    (tmp_path / "credentials").write_text(keys.replace("FIRST", "SECOND"))
    store.check()
    assert seen == ["AKIAFIRST", "AKIASECOND"]


def test_child_processes_ask_the_source_themselves(aws: Aws) -> None:
    settings = store_settings(aws.env)
    assert settings is not None
    env = settings.as_environment()
    assert env["ACCRETE_S3_CREDENTIALS"] == "aws"
    program = (
        "from accrete.store.object_store import ObjectStore\n"
        "print(ObjectStore.open('s3://accrete').create_note('note', b'x'))"
    )
    left_over = {"ACCRETE_S3_ACCESS_KEY": "of-another", "AWS_ACCESS_KEY_ID": "of-another"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | left_over | env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "True\n"
    assert len(aws.tokens.asked) == 1


def test_doctor_names_the_source_and_its_end(aws: Aws, cli: Cli) -> None:
    blank = dict.fromkeys(("ACCRETE_S3_ACCESS_KEY", "ACCRETE_S3_SECRET_KEY"), "")
    done = cli("doctor", "--store", **blank, **aws.env, ACCRETE_S3_CREDENTIALS="aws")
    assert re.search(
        f"ok    credentials: web identity role {ROLE}, until .* UTC, renewed before", done.stdout
    ), done.stdout + done.stderr
    half = aws.env | {"AWS_ROLE_ARN": "", "AWS_ENDPOINT_URL_STS": ""}
    done = cli("doctor", "--store", **blank, **half, ACCRETE_S3_CREDENTIALS="")
    assert "AWS_WEB_IDENTITY_TOKEN_FILE is set but AWS_ROLE_ARN is not" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_s3_errors_of_tokens_say_that_it_is_the_token(stack: ExitStack) -> None:
    answers = [s3_error(400, "ExpiredToken", "The provided token has expired."), Answer(400)]
    env = {
        "ACCRETE_S3_ENDPOINT": stack.enter_context(answering(lambda _: answers[0])),
        "ACCRETE_S3_ACCESS_KEY": "ASIA0123456789",
        "ACCRETE_S3_SECRET_KEY": "x" * 40,
        "ACCRETE_S3_SESSION_TOKEN": "y" * 100,
    }
    for ask in (lambda store: store.read_note("a"), lambda store: store.check()):
        with pytest.raises(StoreAccessError, match=r"ASIA…' of .*: their session token has ended"):
            ask(store_of(env))


def test_a_token_service_s_certificate_is_checked_by_its_own_ca(
    aws: Aws, tmp_path: Path, stack: ExitStack
) -> None:
    authority = Authority(tmp_path, "ca")
    files = authority.server("sts", "127.0.0.1")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(files.certificate, files.key)
    env = aws.env | {"AWS_ENDPOINT_URL_STS": stack.enter_context(answering(aws.tokens, tls))}
    with pytest.raises(
        StoreUnreachableError, match=r"from no CA in this system.* in AWS_CA_BUNDLE"
    ):
        store_of(env).check()
    store_of(env | {"AWS_CA_BUNDLE": str(authority.path)}).check()
    with pytest.raises(ConfigError, match=r"AWS_CA_BUNDLE is /nothing, which cannot be read"):
        store_of(env | {"AWS_CA_BUNDLE": "/nothing"}).check()
