"""TLS as a client: whom it trusts, what a handshake failed of, and what to do then."""

import ssl
from pathlib import Path

from accrete.errors import ConfigError

_EXPIRED, _NOT_YET_VALID = 10, 9
_UNKNOWN_ISSUER = (2, 18, 19, 20, 21, 27)
_OTHER_NAME = (62, 64)
# Results of X509_verify_cert. Source: openssl, include/openssl/x509_vfy.h.in.
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG"}
"""What OpenSSL says when the answer to its greeting is not TLS."""

SYSTEM_CA = "this system's CA certificates"
"""Whom TLS trusts that is told nothing, in words."""


def trusting(path: str | None, what: str, *, folders: bool = False) -> ssl.SSLContext:
    """Return TLS that trusts the certificates of a file.

    Args:
        path: of it; None: this system's.
        what: names it, for messages: an option or a variable.
        folders: whether it may be a folder, as OpenSSL hashes them.

    Raises:
        ConfigError: it cannot be used.
    """
    if path is None:
        return ssl.create_default_context()
    try:
        if folders and Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except ssl.SSLError as error:
        raise ConfigError(
            f"{what} is {path}, which holds no CA certificate that can be read "
            f"({error.reason or error}): give a file of certificates in PEM"
        ) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"{what} is {path}, which cannot be read ({why}): give a file of CA certificates in PEM"
        ) from error


def tls_error(error: BaseException) -> ssl.SSLError | None:
    """Return OpenSSL's own error out of what a library makes of it; None: there is none."""
    seen: list[BaseException] = [error]
    for each in seen:
        if isinstance(each, ssl.SSLError):
            return each
        inner = (getattr(each, name, None) for name in ("reason", "original_error", "__cause__"))
        seen += [i for i in (*inner, *each.args[:2]) if isinstance(i, BaseException)]
        if len(seen) > 20:
            break
    return None


def is_lasting(error: ssl.SSLError | None) -> bool:
    """Return whether another try would fail alike; a handshake that broke off would not."""
    return isinstance(error, ssl.SSLCertVerificationError) or (
        error is not None and answers_without_tls(error)
    )


def answers_without_tls(error: ssl.SSLError) -> bool:
    """Return whether what came was not TLS."""
    return error.reason in _NO_TLS


def certificate_words(
    error: ssl.SSLCertVerificationError, host: str, trusted: str, option: str
) -> str:
    """Return why a certificate is refused, and what to do: continues "its certificate".

    Args:
        error: of the handshake.
        host: that was asked for.
        trusted: whose certificates are trusted, in words.
        option: what names the file of another CA.
    """
    code = error.verify_code
    if code == _EXPIRED:
        return "has expired: renew it, or set this machine's clock right"
    if code == _NOT_YET_VALID:
        return "is not valid yet: set this machine's clock right"
    if code in _OTHER_NAME:
        return f"is not for {host}: use a name or address that it has"
    if code in _UNKNOWN_ISSUER:
        return (
            f"is from no CA in {trusted} ({error.verify_message}): name the file of its CA's "
            f"certificate in {option}"
        )
    return f"is refused ({error.verify_message})"
