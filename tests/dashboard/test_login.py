"""First start, login, sessions, passwords and tokens, as browsers and programs see them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from node.dashboard.app import announce_first_start
from node.dashboard.security import cookies
from node.dashboard.security.passwords import WeakPassword, check_strength
from node.registry import accounts, credentials
from node.registry.account_models import ApiToken, AuditEntry, LoginAttempt, LoginSession, User
from node.registry.roles import Role
from tests.dashboard.conftest import NOW, PASSWORD, TESTER, Site, csrf, log_in, post


def actions(site: Site) -> list[str]:
    with site.registry.reading() as session:
        return list(session.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


def test_the_first_start_offers_one_admin_account_to_whoever_has_the_code(make_site: Callable[..., Site]) -> None:
    site = make_site()
    browser = site.browser()
    assert browser.get("/", follow_redirects=True).url.path == "/setup"
    with site.registry.transaction() as session:
        code = credentials.new_setup_code(session, NOW)
    typed = {"name": "Ada", "password": PASSWORD, "again": PASSWORD}
    assert post(browser, "/setup", page="/setup", code="0000-0000-0000-0000", **typed).status_code == 403
    weak = {**typed, "password": "password1234", "again": "password1234"}
    assert post(browser, "/setup", page="/setup", code=code, **weak).status_code == 409
    with site.registry.reading() as session:
        assert not accounts.any_user(session)
    assert post(browser, "/setup", page="/setup", code=code, **typed).status_code == 303
    assert browser.get("/users").status_code == 200
    second = post(site.browser(), "/setup", page="/login", code=code, **{**typed, "name": "eve"})
    assert second.headers["location"] == "/login"
    with site.registry.reading() as session:
        assert [user.name for user in session.scalars(select(User))] == ["ada"]


def test_the_code_is_printed_while_there_is_no_account(
    site: Site, make_site: Callable[..., Site], capsys: pytest.CaptureFixture[str]
) -> None:
    announce_first_start(site.registry, "http://127.0.0.1:8080")
    assert "set_up_code" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["ada", "nobody", "ada\0", "' OR 1=1 --", "ä" * 900])
def test_wrong_password_unknown_name_and_odd_input_get_the_same_answer(site: Site, name: str) -> None:
    answer = log_in(site.browser(), name, "not the password")
    assert answer.status_code == 401
    assert "Name or password is not right." in answer.text
    assert cookies.SESSION not in answer.cookies


def test_a_login_gets_a_new_session_and_the_old_one_ends(site: Site) -> None:
    browser = site.browser()
    answer = log_in(browser, "ADA ", next="/users")
    assert answer.headers["location"] == "/users"
    flags = answer.headers["set-cookie"].lower()
    assert "httponly" in flags and "samesite=lax" in flags and "secure" not in flags
    first = browser.cookies[cookies.SESSION]
    assert post(browser, "/login", page="/account", name="ada", password=PASSWORD).status_code == 303
    assert browser.cookies[cookies.SESSION] != first
    with site.registry.reading() as session:
        (row,) = session.scalars(select(LoginSession))
    assert row.token_hash not in (first, browser.cookies[cookies.SESSION]), "the token itself is not stored"
    thief = site.browser()
    thief.cookies.set(cookies.SESSION, first)
    assert thief.get("/users").status_code == 303


@pytest.mark.parametrize(
    "where", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\r\nX: y", ""]
)
def test_a_login_leads_nowhere_else(site: Site, where: str) -> None:
    assert log_in(site.browser(), "ada", next=where).headers["location"] == "/"


def test_behind_a_configured_tls_proxy_the_cookie_is_secure(make_site: Callable[..., Site]) -> None:
    site = make_site(public_url="https://osteon.hospital.example")
    site.add("ada", Role.ADMIN)
    browser = TestClient(site.app, base_url="https://osteon.hospital.example", follow_redirects=False)
    answer = log_in(browser, "ada")
    browser.close()
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


def test_a_session_ends_when_idle_and_a_page_that_refreshes_itself_is_idle(site: Site, viewer: TestClient) -> None:
    for _ in range(3):
        site.clock.forward(1500)
        assert viewer.get("/").status_code == 200
    site.clock.forward(1500)
    assert viewer.get("/?fragment=jobs", headers={"HX-Request": "true"}).status_code == 200
    site.clock.forward(400)
    answer = viewer.get(
        "/?fragment=jobs", headers={"HX-Request": "true", "HX-Current-URL": "http://testserver/audit?by=x"}
    )
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/login?next=%2Faudit%3Fby%3Dx"


def test_a_session_ends_after_half_a_day_in_any_case(site: Site, viewer: TestClient) -> None:
    for _ in range(28):
        site.clock.forward(1500)
        assert viewer.get("/account").status_code == 200
    site.clock.forward(1500)
    assert viewer.get("/account").status_code == 303


def test_logging_out_ends_the_session_for_whoever_holds_the_cookie(site: Site, viewer: TestClient) -> None:
    token = viewer.cookies[cookies.SESSION]
    assert post(viewer, "/logout").headers["location"] == "/login"
    thief = site.browser()
    thief.cookies.set(cookies.SESSION, token)
    assert thief.get("/").status_code == 303


def test_guessing_is_stopped_per_account_and_address_across_processes(site: Site) -> None:
    with site.registry.transaction() as session:  # five guesses that another process saw
        for _ in range(credentials.PER_NAME_AND_ADDRESS):
            credentials.note_attempt(session, "ada", "testclient", site.clock())
    browser = site.browser()
    assert log_in(browser, "ada").status_code == 429, "the right password, too"
    assert log_in(browser, "vera").status_code == 303
    site.clock.forward(credentials.ATTEMPT_WINDOW.total_seconds() + 1)
    assert log_in(site.browser(), "ada").status_code == 303
    with site.registry.reading() as session:
        assert list(session.scalars(select(LoginAttempt))) == []


def test_guessing_one_password_for_many_names_is_stopped_per_address(site: Site) -> None:
    with site.registry.transaction() as session:
        for number in range(credentials.PER_ADDRESS):
            credentials.note_attempt(session, f"name{number}", "testclient", site.clock())
    assert log_in(site.browser(), "ada").status_code == 429


def test_a_disabled_account_is_out_at_once_and_cannot_come_back(site: Site, admin: TestClient) -> None:
    victim = site.logged_in("otto")
    number = _id(site, "otto")
    assert post(admin, f"/users/{number}/disable").status_code == 303
    assert victim.get("/").status_code == 303
    assert log_in(victim, "otto").status_code == 401
    assert post(admin, f"/users/{number}/enable").status_code == 303
    assert log_in(victim, "otto").status_code == 303


def test_the_last_admin_can_neither_be_disabled_nor_demoted(site: Site, admin: TestClient) -> None:
    number = _id(site, "ada")
    for path, fields in ((f"/users/{number}/disable", {}), (f"/users/{number}/role", {"role": "viewer"})):
        answer = post(admin, path, **fields)
        assert answer.status_code == 409
        assert "last admin" in answer.text
    assert admin.get("/users").status_code == 200


def test_every_change_to_users_is_audited_without_passwords(site: Site, admin: TestClient) -> None:
    other = "another sentence of mine"
    assert post(admin, "/users", page="/users", name="Nina", role="viewer", password=other).status_code == 303
    number = _id(site, "nina")
    post(admin, f"/users/{number}/role", role="operator")
    post(admin, f"/users/{number}/password", password=other + "!")
    assert actions(site)[-3:] == ["user.add", "user.role", "user.password"]
    with site.registry.reading() as session:
        last = session.scalars(select(AuditEntry).where(AuditEntry.action == "user.role")).one()
        everything = repr([vars(row) for row in session.scalars(select(AuditEntry))])
    assert (last.who, last.role, last.address, last.object) == ("ada", "admin", "testclient", "user nina")
    assert (last.before, last.after) == ({"role": "viewer"}, {"role": "operator"})
    assert other not in everything and "argon2" not in everything
    page = admin.get("/audit", params={"action": "user.role"}).text
    assert "user nina" in page and "user.password" not in page


def test_ones_own_password_needs_the_old_one_and_logs_other_browsers_out(site: Site, viewer: TestClient) -> None:
    elsewhere = site.logged_in("vera")
    new = {"new": "another sentence of mine", "again": "another sentence of mine"}
    assert post(viewer, "/account/password", old="wrong", **new).status_code == 409
    assert post(viewer, "/account/password", old=PASSWORD, **new).status_code == 303
    assert viewer.get("/account").status_code == 200
    assert elsewhere.get("/account").status_code == 303
    assert log_in(site.browser(), "vera").status_code == 401


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "password2024!",
        "P@ssw0rd12345",
        "123456789012",
        "aaaaaaaaaaaaaa",
        "abcdefghijklmn",
        "ada-ada-2024",
        "x" * 257,
    ],
)
def test_passwords_that_somebody_would_guess_are_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_strength(password, "ada-ada")


@pytest.mark.parametrize("password", [PASSWORD, "correct horse battery", "vT7#q9Zp!kL2w", "今天天气很好我们去散步吧"])
def test_sentences_and_random_passwords_are_taken(password: str) -> None:
    check_strength(password, "ada")


def test_a_token_opens_the_api_until_it_is_revoked_or_its_owner_is_out(site: Site, operator: TestClient) -> None:
    page = post(operator, "/account/tokens", name="script", role="operator").text
    (made,) = [word.split("<")[0] for word in page.split('<code class="secret">')[1:]]
    program = site.browser()
    headers = {"Authorization": f"Bearer {made}"}
    assert program.get("/api/v1/overview", headers=headers).status_code == 200
    assert made not in operator.get("/account").text
    with site.registry.transaction() as session:
        (row,) = session.scalars(select(ApiToken))
        assert row.token_hash == credentials.digest(made)
        accounts.set_role(session, TESTER, accounts.find_user(session, "otto"), Role.VIEWER, NOW)
        assert credentials.live_token(session, made)[1] is Role.VIEWER, "never more than its owner"  # type: ignore[index]
        credentials.revoke_token(session, TESTER, row.id, None, NOW)
    assert program.get("/api/v1/overview", headers=headers).status_code == 401
    assert program.get("/account", headers=headers).status_code == 401


def test_nobody_makes_a_token_for_more_than_themselves(viewer: TestClient) -> None:
    assert post(viewer, "/account/tokens", name="t", role="admin").status_code == 409
    assert post(viewer, "/account/tokens/1/revoke").status_code == 409


def test_a_login_page_of_another_site_cannot_log_a_person_in(site: Site) -> None:
    browser = site.browser()
    browser.get("/login")
    foreign = csrf(site.browser())
    answer = browser.post("/login", data={"csrf": foreign, "name": "ada", "password": PASSWORD})
    assert answer.status_code == 403


def _id(site: Site, name: str) -> int:
    with site.registry.reading() as session:
        return accounts.find_user(session, name).id
