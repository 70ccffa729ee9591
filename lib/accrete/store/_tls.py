"""What a store's TLS failed of."""

import ssl
from urllib.parse import urlsplit

from accrete.core.environment import ENV_CA_BUNDLE
from accrete.core.tls import SYSTEM_CA, answers_without_tls, certificate_words, tls_error
from accrete.store.settings import StoreSettings


def tls_failure(error: BaseException, settings: StoreSettings) -> str | None:
    """Return what is wrong with a store's TLS and what to do; None: that is not what failed."""
    tls = tls_error(error)
    if tls is None:
        return None
    if isinstance(tls, ssl.SSLCertVerificationError):
        host = urlsplit(settings.endpoint).hostname or ""
        trusted = settings.ca_bundle or SYSTEM_CA
        return f"its certificate {certificate_words(tls, host, trusted, ENV_CA_BUNDLE)}"
    if answers_without_tls(tls):
        return "it answers without TLS: give http:// instead of https://, or its port for TLS"
    return f"TLS failed ({tls.reason or tls})"
