"""Login through the hospital's identity provider (OpenID Connect, authorization code with PKCE).

    /login/oidc --state, nonce, verifier in a cookie of ten minutes--> provider: the person logs in there
    /login/oidc/callback --state--> code --> ID token --signature, issuer, audience, nonce--> Person --> session

Authlib speaks the protocol; here stands what is believed: a token signed with an asymmetric key that the provider
publishes, meant for this client, and the groups that `dashboard.oidc.roles` names. Local accounts go on working beside
it, for the day when the provider is away. Nothing is asked of the provider after the login: the node's own time-outs
end the session, and a person whose groups changed has the new role at the next login.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import structlog

from node.dashboard.i18n import Text
from node.errors import PermanentError, RetriableError
from node.registry.roles import Role
from node.settings.model import OidcSettings

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the provider can make; never "none", and none that is keyed with the client's own secret."""

TIMEOUT_S = 10.0
KEPT = timedelta(hours=1)
"""How long the provider's description and keys are believed without asking again."""

ASK_AGAIN = timedelta(minutes=1)
"""A token with a key that is not known yet asks for the keys again, but not more often than this."""

LEEWAY_S = 60
"""How far the two clocks may be apart."""

CALLBACK = "/login/oidc/callback"

log = structlog.get_logger(__name__)


class OidcRefused(PermanentError):
    """The provider's answer does not let this person in; `text` may be shown to them."""

    def __init__(self, text: Text, why: str = "") -> None:
        self.text = text
        self.why = why or str(text)
        super().__init__(text)


class OidcUnavailable(RetriableError):
    """The provider does not answer as one."""

    def __init__(self) -> None:
        self.text = Text("The identity provider does not answer; try again, or log in with a local account.")
        super().__init__(self.text)


@dataclass(frozen=True)
class Attempt:
    """What the browser keeps between leaving for the provider and coming back; `next` is where it wanted to go."""

    state: str
    nonce: str
    verifier: str
    next: str

    def packed(self) -> str:
        return base64.urlsafe_b64encode(json.dumps(asdict(self)).encode()).decode()

    @classmethod
    def unpacked(cls, cookie: str) -> Attempt | None:
        try:
            return cls(**{name: str(value) for name, value in json.loads(base64.urlsafe_b64decode(cookie)).items()})
        except (ValueError, TypeError, AttributeError):
            return None


@dataclass(frozen=True)
class Person:
    """Who the provider says it is. subject: its own name for the person, with the issuer; never given to another."""

    subject: str
    name: str
    role: Role


class Provider:
    """The identity provider of the configuration. `redirect_uri` must be registered there, letter by letter."""

    def __init__(self, settings: OidcSettings, public_url: str) -> None:
        self._settings = settings
        self.redirect_uri = public_url.rstrip("/") + CALLBACK
        self._lock = threading.Lock()
        self._metadata: dict[str, Any] = {}
        self._keys: Any = None
        self._asked_at: datetime | None = None

    def leave(self, next_path: str, now: datetime) -> tuple[str, Attempt]:
        """The address to send the browser to, and what it must bring back."""
        attempt = Attempt(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48), next_path)
        self._know(now)
        with self._client() as client:
            url, _state = client.create_authorization_url(
                self._metadata["authorization_endpoint"],
                state=attempt.state,
                nonce=attempt.nonce,
                code_verifier=attempt.verifier,
            )
        return str(url), attempt

    def arrive(self, attempt: Attempt, code: str, now: datetime) -> Person:
        """Exchange the code for an ID token and read who it is.

        Raises
        ------
        OidcRefused
            If the token is not good, or its groups give no role.
        OidcUnavailable
            If the provider does not answer.
        """
        import requests
        from authlib.oauth2.base import OAuth2Error

        self._know(now)
        try:
            with self._client() as client:
                token = client.fetch_token(
                    self._metadata["token_endpoint"], code=code, code_verifier=attempt.verifier, timeout=TIMEOUT_S
                )
        except OAuth2Error as error:
            raise OidcRefused(BAD_TOKEN, f"the token endpoint refused: {error.error}") from error
        except (requests.RequestException, ValueError) as error:
            log.warning("oidc.provider_away", error=type(error).__name__)
            raise OidcUnavailable() from error
        return self._person(self._claims(token, attempt.nonce, now))

    def _person(self, claims: dict[str, Any]) -> Person:
        name = _at(claims, self._settings.name_claim)
        role = role_of(self._settings, _at(claims, self._settings.roles_claim))
        if role is None:
            raise OidcRefused(NO_ROLE, f"no role for '{claims['sub']}'")
        return Person(f"{self._settings.issuer} {claims['sub']}"[:400], str(name or claims["sub"]), role)

    def _claims(self, token: dict[str, Any], nonce: str, now: datetime) -> dict[str, Any]:
        """The ID token's claims, once all of OpenID Connect Core 3.1.3.7 holds for it."""
        from authlib.oidc.core import CodeIDToken
        from joserfc import jwt
        from joserfc.errors import JoseError

        id_token = token.get("id_token")
        if not isinstance(id_token, str):
            raise OidcRefused(BAD_TOKEN, "the answer holds no ID token")
        try:
            try:
                decoded = jwt.decode(id_token, self._keys, algorithms=list(ALGORITHMS))
            except (JoseError, ValueError):
                self._know(now, after=ASK_AGAIN)  # the provider may have changed its keys
                decoded = jwt.decode(id_token, self._keys, algorithms=list(ALGORITHMS))
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": self._settings.issuer},
                    "aud": {"essential": True, "value": self._settings.client_id},
                },
                {
                    "nonce": nonce,
                    "client_id": self._settings.client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(now=int(now.timestamp()), leeway=LEEWAY_S)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            raise OidcRefused(BAD_TOKEN, f"the ID token is not good: {type(error).__name__} {error}"[:300]) from error
        if not isinstance(claims.get("sub"), str) or not claims["sub"]:
            raise OidcRefused(BAD_TOKEN, "the ID token names nobody")
        return dict(claims)

    def _client(self) -> Any:
        from authlib.integrations.requests_client import OAuth2Session

        offered = self._metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        method = next((one for one in ("client_secret_basic", "client_secret_post") if one in offered), offered[0])
        secret = self._settings.secret()
        return OAuth2Session(
            self._settings.client_id,
            secret,
            token_endpoint_auth_method=method if secret else "none",
            scope=" ".join(self._settings.scopes),
            redirect_uri=self.redirect_uri,
            code_challenge_method="S256",
        )

    def _know(self, now: datetime, after: timedelta = KEPT) -> None:
        """Have the provider's description and keys at hand, asked for again once they are older than `after`."""
        import requests
        from joserfc.jwk import KeySet

        with self._lock:
            if self._asked_at is not None and now - self._asked_at < after:
                return
            try:
                where = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
                found = _json(where)
                if found.get("issuer") != self._settings.issuer:
                    raise ValueError(f"it calls itself {found.get('issuer')!r}; write that into dashboard.oidc.issuer")
                keys = KeySet.import_key_set(cast(Any, _json(found["jwks_uri"])))
                _ = found["authorization_endpoint"], found["token_endpoint"]
            except (requests.RequestException, ValueError, KeyError, TypeError) as error:
                log.warning(
                    "oidc.provider_away", issuer=self._settings.issuer, error=f"{type(error).__name__}: {error}"
                )
                raise OidcUnavailable() from error
            self._metadata, self._keys, self._asked_at = found, keys, now


BAD_TOKEN = Text("The identity provider's answer is not valid; try again, or log in with a local account.")
NO_ROLE = Text("You are known to the identity provider, but none of your groups has a role here; ask an admin.")


def role_of(settings: OidcSettings, groups: Any) -> Role | None:
    """The highest role that one of a person's groups gives; `default_role` where none does."""
    held = {groups} if isinstance(groups, str) else {str(one) for one in groups} if isinstance(groups, list) else set()
    given: dict[str, set[str]] = {role: set(named) for role, named in settings.roles.items()}
    for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER):
        if held & given.get(role.value, set()):
            return role
    return Role(settings.default_role) if settings.default_role else None


def _at(claims: dict[str, Any], path: str) -> Any:
    """A claim by its name, or by a dotted path into claims that hold others (realm_access.roles)."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _json(url: str) -> dict[str, Any]:
    import requests

    answer = requests.get(url, timeout=TIMEOUT_S, allow_redirects=False, headers={"Accept": "application/json"})
    answer.raise_for_status()
    found = answer.json()
    if not isinstance(found, dict):
        raise ValueError("the answer is no JSON object")
    return found
