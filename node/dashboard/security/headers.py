"""Security headers and the visitor's language, on every request; plain ASGI, so that live streams pass through."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.dashboard import i18n
from node.dashboard.security import cookies
from node.dashboard.security.addresses import Networks, is_https

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
HSTS = "max-age=31536000"


class Shield:
    """Adds the headers; nothing but static files may be kept by a browser or proxy."""

    def __init__(self, app: ASGIApp, trusted: Networks, public_url: str, language: str) -> None:
        self._app = app
        self._trusted = trusted
        self._public_url = public_url
        self._language = language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        language = i18n.choose(
            request.cookies.get(cookies.LANGUAGE, ""), request.headers.get("accept-language", ""), self._language
        )
        https = is_https(request, self._trusted, self._public_url)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                static = scope["path"].startswith("/static/")
                headers.setdefault("Cache-Control", "max-age=3600" if static else "no-store")
                if https:
                    headers.setdefault("Strict-Transport-Security", HSTS)
            await send(message)

        token = i18n.LANGUAGE.set(language)
        try:
            await self._app(scope, receive, with_headers)
        finally:
            i18n.LANGUAGE.reset(token)
