"""Stand-ins on loopback for what gives credentials and takes them; they answer as AWS documents.

Of the token service: docs.aws.amazon.com/STS/latest/APIReference, `AssumeRoleWithWebIdentity`; of
agents: docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html; of an
instance's metadata: docs.aws.amazon.com/AWSEC2/latest/UserGuide, pages `configuring-instance-
metadata-service` and `instance-metadata-security-credentials`; of S3's refusals:
docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
"""

import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

XML = {"Content-Type": "application/xml"}
ROLE = "arn:aws:iam::123456789012:role/steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered; without a status the connection is closed."""

    status: int | None
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def answering(
    answer: Callable[[Asked], Answer], tls: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve on a free port of loopback meanwhile; give the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(
                method=self.command, path=self.path, headers=self.headers,
                body=self.rfile.read(length),
            )  # fmt: skip
            made = answer(asked)
            if made.status is None:
                self.wfile.write(made.body)
                self.close_connection = True
                return
            self.send_response(made.status)
            for name, value in made.headers.items():
                self.send_header(name, value)
            if "Content-Length" not in made.headers:
                self.send_header("Content-Length", str(len(made.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(made.body)
            if "Content-Length" in made.headers:
                self.close_connection = True  # a body that is cut, say

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hung up
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Keys:
    """Temporary keys that are given out and end."""

    def __init__(self, lifetime_s: float = 3600) -> None:
        self.lifetime_s, self.given, self.revoked = lifetime_s, 0, 0
        self._ends: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def new(self) -> dict[str, str]:
        """Return keys of their own names, which tell how many there were before."""
        with self._lock:
            self.given += 1
            number = self.given
        end = datetime.now(UTC) + timedelta(seconds=self.lifetime_s)
        token = f"Token/{number:04}/" + "FwoGZXIvYXdzEJr+" * 20
        self._ends[f"ASIATEMPORARY{number:07}"] = token, end.timestamp()
        return {
            "AccessKeyId": f"ASIATEMPORARY{number:07}",
            "SecretAccessKey": f"temporary/Secret+{number:04}/abcdefghijklmnopqrs",
            "Token": token,
            "Expiration": f"{end:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        }

    def refusal(self, asked: Asked) -> Answer | None:
        """Return what S3 says to a request that is signed with other keys, or ones that ended."""
        credential = re.search(r"Credential=(\w+)/", asked.headers.get("Authorization", ""))
        name = credential[1] if credential else ""
        token, end = self._ends.get(name, ("", 0.0))
        if int(name[-7:] or 0) <= self.revoked or end < datetime.now(UTC).timestamp():
            return s3_error(400, "ExpiredToken", "The provided token has expired.")
        if asked.headers.get("x-amz-security-token") != token:
            return s3_error(400, "InvalidToken", "The provided token is malformed.")
        return None


def s3_error(status: int, code: str, message: str, more: str = "") -> Answer:
    """Return an error of S3's form."""
    text = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>"
    return Answer(status, text.encode(), XML)


def sts_error(status: int, code: str, message: str) -> Answer:
    """Return an error of the token service's form."""
    inner = f"<Type>Sender</Type><Code>{code}</Code><Message>{message}</Message>"
    return Answer(status, f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>".encode(), XML)


class TokenService:
    """AWS's token service, for web identities."""

    def __init__(self, keys: Keys) -> None:
        self.keys, self.asked = keys, list[Asked]()
        self.failure: Answer | None = None

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if self.failure is not None:
            return self.failure
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        assert form["Action"] == "AssumeRoleWithWebIdentity"
        assert form["RoleArn"] == ROLE
        assert form["WebIdentityToken"].count(".") == 2
        made = self.keys.new()
        inner = "".join(
            f"<{name}>{made[key]}</{name}>"
            for name, key in (
                *(("AccessKeyId", "AccessKeyId"), ("SecretAccessKey", "SecretAccessKey")),
                *(("SessionToken", "Token"), ("Expiration", "Expiration")),
            )
        )
        text = (
            '<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<AssumeRoleWithWebIdentityResult><Credentials>{inner}</Credentials>"
            "</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
        )
        return Answer(200, text.encode(), {"Content-Type": "text/xml"})


class ContainerAgent:
    """EKS Pod Identity's agent."""

    def __init__(self, keys: Keys, token: str) -> None:
        self.keys, self.token, self.asked = keys, token, list[Asked]()

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.path != "/v1/credentials":
            return Answer(404)
        if asked.headers.get("Authorization") != self.token:
            return Answer(401, b'{"code": "InvalidAuthorization", "message": "token is wrong"}')
        made = self.keys.new() | {"AccountId": "123456789012"}
        return Answer(200, json.dumps(made).encode(), {"Content-Type": "application/json"})


class InstanceMetadata:
    """An instance's metadata, version 2: nothing without a token."""

    def __init__(self, keys: Keys) -> None:
        self.keys, self.asked = keys, list[Asked]()

    def __call__(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        if asked.path == "/latest/api/token":
            assert asked.method == "PUT"
            assert asked.headers["X-aws-ec2-metadata-token-ttl-seconds"].isdecimal()
            return Answer(200, b"metadata-token-1234567890==")
        if asked.headers.get("X-aws-ec2-metadata-token") != "metadata-token-1234567890==":
            return Answer(401)
        if asked.path == "/latest/meta-data/iam/security-credentials/":
            return Answer(200, b"steps-role")
        if asked.path == "/latest/meta-data/iam/security-credentials/steps-role":
            made = {"Code": "Success", "Type": "AWS-HMAC", **self.keys.new()}
            return Answer(200, json.dumps(made).encode())
        return Answer(404)


class Bucket:
    """Objects in memory behind keys that end; what a store says to them and no more."""

    def __init__(self, keys: Keys) -> None:
        self.keys, self.objects, self.refusals = keys, dict[str, bytes](), 0

    def __call__(self, asked: Asked) -> Answer:
        refusal = self.keys.refusal(asked)
        if refusal is not None:
            self.refusals += 1
            return refusal
        path = urlsplit(asked.path).path
        if asked.method == "PUT":
            if asked.headers.get("If-None-Match") == "*" and path in self.objects:
                return s3_error(412, "PreconditionFailed", "It exists.")
            self.objects[path] = asked.body
            return Answer(200, headers={"ETag": '"0"'})
        if asked.method == "DELETE":
            self.objects.pop(path, None)
            return Answer(204)
        return self._read(asked.path, path)

    def _read(self, address: str, path: str) -> Answer:
        if "list-type=2" in address:
            inner = "<Name>accrete</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated>"
            start = '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            return Answer(200, f"{start}{inner}</ListBucketResult>".encode(), XML)
        if path.strip("/") == "accrete":
            return Answer(200)
        if path not in self.objects:
            return s3_error(404, "NoSuchKey", "There is no such key.")
        return Answer(200, self.objects[path], {"ETag": '"0"'})
