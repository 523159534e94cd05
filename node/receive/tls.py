"""TLS for the listener (PS3.15 annex B: TLS 1.2 or newer, both sides with certificates)."""

from __future__ import annotations

import ssl

from node.errors import ConfigurationError
from node.settings.model import ListenTlsSettings


def server_context(tls: ListenTlsSettings) -> ssl.SSLContext:
    """The server's side of `listen.tls`.

    Raises
    ------
    ConfigurationError
        If the files do not fit, or client certificates are required and nothing is named to check them against.
    """
    if tls.require_client_certificate and tls.trusted is None:
        raise ConfigurationError(
            [
                "osteon.yaml: listen.tls.trusted: client certificates are required, so the file with the authorities "
                "that sign them is needed (or set listen.tls.require_client_certificate: false)"
            ]
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(tls.certificate, tls.key)
        if tls.trusted is not None:
            context.load_verify_locations(tls.trusted)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError([f"osteon.yaml: listen.tls: the certificate files cannot be used: {error}"]) from error
    if tls.require_client_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
    elif tls.trusted is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
    return context
