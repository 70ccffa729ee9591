"""Certificates for the tests' servers: a CA, and what it signs."""

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """A server's certificate and key, as files in PEM."""

    certificate: Path
    """The certificate."""
    key: Path
    """Its private key."""

    @property
    def options(self) -> tuple[str, str]:
        """What has SeaweedFS's S3 gateway speak TLS with them."""
        return f"-s3.cert.file={self.certificate}", f"-s3.key.file={self.key}"


class Authority:
    """A CA."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make it; its certificate becomes a file of a folder."""
        self._folder, self._name, self._key = folder, _named(name), _key()
        today = datetime.datetime.now(datetime.UTC)
        certificate = (
            _builder(self._name, self._name, self._key, today - DAY, today + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, name: str, *hosts: str, since: int = -1, until: int = 1) -> ServerFiles:
        """Sign a server's certificate.

        Args:
            name: of its files.
            hosts: names and addresses that it is for.
            since: first day that it is valid on, from today.
            until: last day.
        """
        today = datetime.datetime.now(datetime.UTC)
        key = _key()
        certificate = (
            _builder(_named(name), self._name, key, today + since * DAY, today + until * DAY)
            .add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), False)
            .sign(self._key, hashes.SHA256())
        )
        files = ServerFiles(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    since: datetime.datetime,
    until: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(until)
    )
