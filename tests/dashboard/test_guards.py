"""Over ALL routes: nothing for anybody without a login, nothing changed by a viewer, no form without its token.

The list of routes is the application's own, so a page that is added later is tested without being named here.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Iterator, MutableMapping
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from node.dashboard.app import MAX_BODY_BYTES
from node.dashboard.pages.routing import MAX_FORM_BYTES
from node.dashboard.security.access import SAFE_METHODS, Require, check_guards, guards_of, routes_of
from node.registry import credentials
from node.registry.roles import Role
from tests.dashboard.conftest import NOW, TESTER, Site, csrf

OPEN_TO_ALL = {"/healthz", "/login", "/login/oidc", "/login/oidc/callback", "/setup", "/language", "/theme"}
CHUNK = 500_000
OWN_BUSINESS = ("/account", "/logout")
"""What a viewer may change: the own password, the own tokens, the own session."""


def requests_of(app: FastAPI) -> Iterator[tuple[str, str, APIRoute]]:
    """(method, path with its parameters filled in, route)"""
    for route in routes_of(app):
        if isinstance(route, APIRoute):
            path = route.path
            for name in route.param_convertors:
                path = path.replace(f"{{{name}}}", "1").replace(f"{{{name}:path}}", "1")
            for method in sorted(route.methods):
                yield method, path, route


def test_there_are_routes_to_test(site: Site) -> None:
    found = {path for _method, path, _route in requests_of(site.app)}
    assert {"/", "/users", "/audit", "/account", "/live", "/api/v1/overview", "/api/openapi.json"} <= found


def test_without_a_login_no_route_answers_with_anything(site: Site) -> None:
    stranger = site.browser()
    token = csrf(stranger)
    for method, path, route in requests_of(site.app):
        if route.path in OPEN_TO_ALL:
            continue
        answer = stranger.request(method, path, headers={"X-CSRF-Token": token})
        if answer.status_code == 303:
            assert answer.headers["location"].startswith("/login"), path
            assert answer.text == "", path
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["content-type"] == "application/problem+json", path
            assert set(answer.json()) == {"type", "title", "status", "detail"}


@pytest.mark.parametrize("credential", ["session", "token"])
def test_a_viewer_is_refused_by_every_route_that_changes_something(
    site: Site, viewer: TestClient, credential: str
) -> None:
    headers = {"X-CSRF-Token": csrf(viewer, "/account")}
    client = viewer
    if credential == "token":
        client = site.browser()
        with site.registry.transaction() as session:
            made = credentials.add_token(session, TESTER, "t", Role.VIEWER, None, NOW)
        headers = {"Authorization": f"Bearer {made}"}
    changing = [one for one in requests_of(site.app) if one[0] not in SAFE_METHODS]
    assert len(changing) > 8
    for method, path, route in changing:
        if route.path in OPEN_TO_ALL or (credential == "session" and path.startswith(OWN_BUSINESS)):
            continue
        assert client.request(method, path, headers=headers).status_code == 403, (method, path)


def test_no_route_takes_a_change_from_a_login_without_the_csrf_token(admin: TestClient, site: Site) -> None:
    for method, path, _route in requests_of(site.app):
        if method not in SAFE_METHODS:
            for headers in ({}, {"X-CSRF-Token": "0" * 64}, {"X-CSRF-Token": csrf(site.browser())}):
                assert admin.request(method, path, headers=headers).status_code == 403, (method, path)
    assert admin.get("/account").status_code == 200


def test_a_visitors_cookie_that_another_host_planted_does_not_make_a_token(admin: TestClient) -> None:
    planted = "k" * 43
    token = hmac.new(planted.encode(), b"osteon csrf", hashlib.sha256).hexdigest()
    admin.cookies.set("osteon_visitor", planted)
    assert admin.post("/account/tokens", headers={"X-CSRF-Token": token}).status_code == 403
    assert admin.post("/theme", headers={"X-CSRF-Token": csrf(admin, "/account")}).status_code != 403


def test_no_stranger_can_fill_memory_or_disk_with_a_body(site: Site) -> None:
    for method, path, _route in requests_of(site.app):
        if method not in SAFE_METHODS:
            taken, status = taken_of_an_endless_body(site.app, method, path)
            most = MAX_FORM_BYTES if path == "/routing/explain" else MAX_BODY_BYTES
            assert taken <= most + CHUNK, (method, path)
            assert 300 <= status < 500, (method, path)
    assert site.browser().post("/login", content=bytes(MAX_BODY_BYTES + 1)).status_code == 413


def taken_of_an_endless_body(app: FastAPI, method: str, path: str) -> tuple[int, int]:
    """Send a body without an end; (bytes that were taken before the answer, its status)"""
    taken, answered = 0, 0

    async def receive() -> dict[str, object]:
        nonlocal taken
        taken += CHUNK
        assert taken < 1000 * CHUNK, "it never stops reading"
        return {"type": "http.request", "body": bytes(CHUNK), "more_body": True}

    async def send(message: MutableMapping[str, Any]) -> None:
        nonlocal answered
        answered = answered or message.get("status", 0)

    headers = [(b"host", b"testserver"), (b"content-type", b"application/x-www-form-urlencoded")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
             "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers,
             "client": ("127.0.0.1", 1), "server": ("testserver", 80)}  # fmt: skip
    asyncio.run(app(scope, receive, send))
    return taken, answered


def test_users_and_audit_are_for_admins(operator: TestClient, admin: TestClient) -> None:
    for path in ("/users", "/users/1", "/audit"):
        assert operator.get(path).status_code == 403
        assert admin.get(path).status_code == 200
    assert "/users" not in operator.get("/").text


def test_every_answer_forbids_foreign_and_inline_scripts_and_frames(site: Site, admin: TestClient) -> None:
    for method, path, _route in requests_of(site.app):
        if method == "GET" and path != "/live":
            answer = admin.get(path)
            policy = answer.headers["content-security-policy"]
            assert "script-src 'self';" in policy and "unsafe" not in policy
            assert answer.headers["x-frame-options"] == "DENY"
            assert answer.headers["cache-control"] == "no-store"
            if "text/html" in answer.headers.get("content-type", ""):
                assert " style=" not in answer.text, path
                assert " onclick=" not in answer.text, path


def test_a_route_without_a_guard_keeps_the_application_from_starting() -> None:
    app, router = FastAPI(openapi_url=None, docs_url=None, redoc_url=None), APIRouter()

    @router.get("/forgotten")
    def forgotten() -> str:
        return "everything"

    app.include_router(router)
    with pytest.raises(RuntimeError, match="/forgotten: the route does not say who may use it"):
        check_guards(app)


def test_changes_under_the_api_and_pages_name_at_least_an_operator_or_oneself(site: Site) -> None:
    for method, path, route in requests_of(site.app):
        if method in SAFE_METHODS or route.path in OPEN_TO_ALL:
            continue
        (guard,) = [found for found in guards_of(route) if isinstance(found, Require)]
        assert guard.role is not None
        assert guard.role.allows(Role.OPERATOR) or (guard.in_person and path.startswith(OWN_BUSINESS)), path
