"""Cookies of the dashboard, and the CSRF tokens that belong to them.

    osteon_session   the session's secret; a new one at every login
    osteon_visitor   a random value for forms before the login (login, set-up, language)
    osteon_flash     a sentence for the next page
    osteon_oidc      what an answer of the identity provider must fit, for ten minutes
    osteon_language, osteon_theme   choices

A form's CSRF token is an HMAC keyed with the session's secret (the visitor's before login), so it is bound to the
session, needs no storage, and cannot be computed by a site that cannot read the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from starlette.requests import Request
from starlette.responses import Response

SESSION = "osteon_session"
VISITOR = "osteon_visitor"
FLASH = "osteon_flash"
OIDC = "osteon_oidc"
LANGUAGE = "osteon_language"
THEME = "osteon_theme"

CHOICE_AGE_S = 365 * 86400


def csrf_token(request: Request) -> str:
    """The token that forms of this visitor carry; makes a visitor's cookie to be set where there is none."""
    secret = _secret(request)
    if not secret:
        secret = getattr(request.state, "new_visitor", None) or secrets.token_urlsafe(32)
        request.state.new_visitor = secret
    return _token(secret)


def is_csrf_token(request: Request, given: str) -> bool:
    """Whether the token is the one that forms of this request's visitor carry."""
    secret = _secret(request)
    return bool(secret) and hmac.compare_digest(_token(secret).encode(), given.encode())


def _secret(request: Request) -> str:
    """The secret that a visitor's tokens are made of; "" where no cookie came.

    With a session it is the session's alone: another host of the same site can plant a visitor's cookie, and with it
    a token of its own.
    """
    return request.cookies.get(SESSION) or request.cookies.get(VISITOR) or ""


def _token(secret: str) -> str:
    return hmac.new(secret.encode(), b"osteon csrf", hashlib.sha256).hexdigest()


def put(response: Response, name: str, value: str, secure: bool, age_s: int | None = None) -> None:
    """Set a cookie that scripts and other sites cannot use."""
    response.set_cookie(name, value, max_age=age_s, httponly=True, samesite="lax", secure=secure, path="/")


def drop(response: Response, name: str) -> None:
    response.delete_cookie(name, path="/", httponly=True, samesite="lax")
