"""Login through an identity provider: who gets in with which role, and every answer that must not let anybody in.

The provider of `tests.fixtures.oidc_server` speaks real HTTP and signs real tokens; a certified one of others is asked
in test_oidc_provider.py. The browser here is the tests' client, which walks from redirect to redirect.
"""

from __future__ import annotations

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from fastapi.testclient import TestClient
from joserfc import jwk
from sqlalchemy import select

from node.dashboard.security.oidc import CALLBACK, role_of
from node.errors import ConfigurationError
from node.registry.account_models import AuditEntry, User
from node.registry.roles import Role
from node.settings import load_configuration
from node.settings.load import REPOSITORY_CONFIG
from node.settings.model import OidcSettings
from tests.dashboard.conftest import PASSWORD, Site, log_in
from tests.fixtures.oidc_server import CLIENT, SECRET, OidcServer, new_key, oidc_server

HERE = "http://testserver"
ROLES = "{admin: [it], operator: [nm, techs], viewer: [physics]}"


@pytest.fixture
def provider() -> Iterator[OidcServer]:
    with oidc_server(HERE + CALLBACK) as running:
        yield running


@pytest.fixture
def hospital(make_site: Callable[..., Site], provider: OidcServer) -> Site:
    """A dashboard that trusts the provider; ada is a local admin."""
    site = make_site(
        public_url=HERE,
        oidc__issuer=provider.url,
        oidc__client_id=CLIENT,
        oidc__client_secret=SECRET,
        oidc__roles=ROLES,
        oidc__label="Hospital login",
    )
    site.clock.now = datetime.now(UTC)  # tokens are made by the real clock
    site.add("ada", Role.ADMIN)
    return site


def walk(browser: TestClient, next_path: str = "/jobs") -> Any:
    """From the button to whatever the dashboard answers in the end."""
    leaving = browser.get("/login/oidc", params={"next": next_path})
    assert leaving.status_code == 303, leaving.text
    there = requests.get(leaving.headers["location"], allow_redirects=False, timeout=10)
    assert there.status_code == 303, there.text
    back = urlsplit(there.headers["location"])
    return browser.get(f"{back.path}?{back.query}")


def as_person(provider: OidcServer, **claims: Any) -> None:
    provider.claims = {"sub": "4711", "preferred_username": "Jane.Doe", "groups": ["nm"], **claims}


def test_the_provider_lets_a_person_in_with_the_role_of_the_groups(hospital: Site, provider: OidcServer) -> None:
    as_person(provider)
    browser = hospital.browser()
    assert "Hospital login" in browser.get("/login").text
    arrived = walk(browser, "/jobs?state=failed")
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/jobs?state=failed")
    page = browser.get("/account").text
    assert "jane.doe" in page and "(operator)" in page and "Old password" not in page
    assert browser.get("/users").status_code == 403
    with hospital.registry.reading() as session:
        actions = session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)).all()
        assert actions[-2:] == ["user.add", "login"]


def test_the_role_follows_the_groups_at_the_next_login_and_ends_the_old_session(
    hospital: Site, provider: OidcServer
) -> None:
    as_person(provider, groups=["it", "physics"])
    first, second = hospital.browser(), hospital.browser()
    walk(first)
    assert first.get("/users").status_code == 200
    as_person(provider, groups="physics", preferred_username="jane.married")
    walk(second)
    assert second.get("/users").status_code == 403
    assert first.get("/users").status_code == 303
    with hospital.registry.reading() as session:
        assert session.scalars(select(User.name).where(User.subject != "")).all() == ["jane.doe"]


def test_a_person_without_a_named_group_is_refused_and_the_audit_trail_says_so(
    hospital: Site, provider: OidcServer
) -> None:
    as_person(provider, groups=["cleaning"])
    browser = hospital.browser()
    answer = walk(browser)
    assert answer.status_code == 403 and "none of your groups has a role here" in answer.text
    assert browser.get("/jobs").status_code == 303
    with hospital.registry.reading() as session:
        last = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert last is not None and (last.action, last.note) == ("login.failed", "no role for '4711'")


def test_a_local_account_of_the_same_name_is_not_taken_over(hospital: Site, provider: OidcServer) -> None:
    as_person(provider, preferred_username="ADA", groups=["it"])
    answer = walk(hospital.browser())
    assert answer.status_code == 403 and "An account of your name is here already" in answer.text
    assert log_in(hospital.browser(), "ada", PASSWORD).status_code == 303


def test_a_disabled_person_stays_out(hospital: Site, provider: OidcServer) -> None:
    as_person(provider)
    walk(hospital.browser())
    with hospital.registry.transaction() as session:
        session.scalars(select(User).where(User.name == "jane.doe")).one().disabled = True
    answer = walk(hospital.browser())
    assert answer.status_code == 403 and "Your account is disabled here" in answer.text


def test_names_in_any_script_get_an_account(hospital: Site, provider: OidcServer) -> None:
    as_person(provider, sub="u-88", preferred_username="王小东")
    assert walk(hospital.browser()).status_code == 303
    with hospital.registry.reading() as session:
        assert session.scalars(select(User.name).where(User.subject != "")).all() == ["u-88"]


def _other_audience(claims: dict[str, Any], _header: dict[str, Any]) -> None:
    claims["aud"] = "another-client"


def _other_issuer(claims: dict[str, Any], _header: dict[str, Any]) -> None:
    claims["iss"] = "https://elsewhere.example"


def _other_nonce(claims: dict[str, Any], _header: dict[str, Any]) -> None:
    claims["nonce"] = "of another login"


def _no_nonce(claims: dict[str, Any], _header: dict[str, Any]) -> None:
    del claims["nonce"]


def _expired(claims: dict[str, Any], _header: dict[str, Any]) -> None:
    claims["exp"] = int(time.time()) - 600


def _nobody(claims: dict[str, Any], _header: dict[str, Any]) -> None:
    claims["sub"] = ""


@pytest.mark.parametrize("change", [_other_audience, _other_issuer, _other_nonce, _no_nonce, _expired, _nobody])
def test_a_token_that_is_not_for_this_login_lets_nobody_in(
    hospital: Site, provider: OidcServer, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> None:
    as_person(provider)
    provider.change = change
    browser = hospital.browser()
    answer = walk(browser)
    assert answer.status_code == 403 and "answer is not valid" in answer.text
    assert browser.get("/jobs").status_code == 303


def test_a_token_signed_by_anybody_else_lets_nobody_in(hospital: Site, provider: OidcServer) -> None:
    as_person(provider)
    published = provider.key
    stranger = jwk.RSAKey.import_key({**new_key().as_dict(private=True), "kid": published.kid})
    provider.key = stranger
    assert walk(hospital.browser()).status_code == 403
    provider.key = published
    assert walk(hospital.browser()).status_code == 303


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_a_token_that_anybody_can_sign_lets_nobody_in(hospital: Site, provider: OidcServer, algorithm: str) -> None:
    as_person(provider)

    def sign(header: dict[str, Any], claims: dict[str, Any], key: Any) -> str:
        # The provider's public key as an HMAC secret, an old trick on those who take any algorithm; or no signature.
        parts = [urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
        signature = hmac.digest(key.as_pem(private=False), b".".join(parts), "sha256") if algorithm == "HS256" else b""
        return b".".join([*parts, urlsafe_b64encode(signature).rstrip(b"=")]).decode()

    provider.sign = sign
    provider.change = lambda _claims, header: header.update(alg=algorithm)
    assert walk(hospital.browser()).status_code == 403


def test_new_keys_of_the_provider_are_learnt(hospital: Site, provider: OidcServer) -> None:
    as_person(provider)
    assert walk(hospital.browser()).status_code == 303
    provider.key = new_key()
    provider.published = [provider.key]
    hospital.clock.forward(61)
    assert walk(hospital.browser()).status_code == 303
    assert provider.asked.count("/keys") == 2


def test_an_answer_for_another_browser_lets_nobody_in(hospital: Site, provider: OidcServer) -> None:
    as_person(provider)
    attacker, victim = hospital.browser(), hospital.browser()
    leaving = attacker.get("/login/oidc")
    there = requests.get(leaving.headers["location"], allow_redirects=False, timeout=10)
    back = urlsplit(there.headers["location"])
    for cookie in (False, True):  # without a login of its own under way, and with one
        if cookie:
            victim.get("/login/oidc")
        assert victim.get(f"{back.path}?{back.query}").status_code == 403
        assert victim.get("/jobs").status_code == 303
    assert attacker.get(f"{back.path}?{back.query}").status_code == 303


@pytest.mark.parametrize("path", [CALLBACK, f"{CALLBACK}?error=access_denied&state=x", f"{CALLBACK}?code=x&state="])
def test_a_callback_out_of_nowhere_is_refused(hospital: Site, path: str) -> None:
    assert hospital.browser().get(path).status_code == 403


def test_a_provider_that_is_away_or_calls_itself_otherwise_is_told(hospital: Site, provider: OidcServer) -> None:
    provider.issuer = "https://elsewhere.example"
    answer = hospital.browser().get("/login/oidc")
    assert answer.status_code == 503 and "does not answer; try again, or log in with a local account" in answer.text


def test_without_a_provider_there_is_no_button_and_no_way(site: Site) -> None:
    assert "/login/oidc" not in site.browser().get("/login").text
    for path in ("/login/oidc", CALLBACK):
        assert site.browser().get(path).status_code == 404


def test_groups_are_found_in_claims_that_hold_others() -> None:
    settings = OidcSettings(issuer="https://idp.example", client_id="x", roles={"operator": ("nm",)})
    assert role_of(settings, ["nm", 5]) is Role.OPERATOR
    assert role_of(settings, {"nm": True}) is None and role_of(settings, None) is None
    assert role_of(settings.model_copy(update={"default_role": "viewer"}), None) is Role.VIEWER


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ISSUER": "https://idp.example", "CLIENT_ID": "x"}, "dashboard.public_url: is needed"),
        ({"ISSUER": "http://idp.example", "CLIENT_ID": "x"}, "dashboard.oidc.issuer"),
        ({"ISSUER": "https://idp.example", "CLIENT_ID": "x", "CLIENT_SECRET_FILE": "/nowhere"}, "no file /nowhere"),
    ],
)
def test_mistakes_in_the_settings_are_named(tmp_path: Any, settings: dict[str, str], said: str) -> None:
    environment = {f"OSTEON__DASHBOARD__OIDC__{name}": value for name, value in settings.items()}
    with pytest.raises(ConfigurationError, match=said):
        load_configuration(REPOSITORY_CONFIG, tmp_path, environment)
