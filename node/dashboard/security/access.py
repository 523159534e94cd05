"""Which request may go on: every route says so by a dependency, and one that does not keeps the program from starting.

    `who: AsViewer`, `who: AsOperator`, `who: AsAdmin`   a login or an API token of at least that role
    `who: InPerson`                                      a login, not a token (own password, own tokens)
    `Depends(anyone)`                                    no login (login, set-up, /healthz)

Changing requests (POST, PUT, PATCH, DELETE) that rely on a cookie must carry the CSRF token, as the form field `csrf`
or the header `X-CSRF-Token`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.routing import BaseRoute, Mount

from node.dashboard.desk import Desk, desk_of
from node.dashboard.i18n import Text
from node.dashboard.security import cookies
from node.dashboard.security.addresses import is_from_this_host
from node.dashboard.security.principal import Principal, identify
from node.registry.roles import Role

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class NotSignedIn(HTTPException):
    def __init__(self) -> None:
        super().__init__(401, Text("Log in first, or send an API token."), headers={"WWW-Authenticate": "Bearer"})


class Guard:
    """A dependency that decides whether a request goes on; `role` is what it asks for, None for nothing."""

    role: Role | None = None

    async def __call__(self, request: Request) -> Principal | None:
        raise NotImplementedError


class Anyone(Guard):
    """No login is needed; a form still carries its CSRF token."""

    async def __call__(self, request: Request) -> Principal | None:
        found = await run_in_threadpool(identify, desk_of(request), request, False)
        request.state.principal = found
        if request.method not in SAFE_METHODS:
            await check_csrf(request)
        return found


class Require(Guard):
    """A login or token of at least `role`; `in_person` refuses tokens."""

    def __init__(self, role: Role, in_person: bool = False) -> None:
        self.role = role
        self.in_person = in_person

    async def __call__(self, request: Request) -> Principal:
        changes = request.method not in SAFE_METHODS
        # What a page asks for by itself (htmx, on a live event) does not keep an abandoned login alive.
        by_itself = not changes and "hx-request" in request.headers
        found = await run_in_threadpool(identify, desk_of(request), request, not by_itself)
        request.state.principal = found
        if found is None:
            raise NotSignedIn()
        assert self.role is not None
        if not found.may(self.role):
            raise HTTPException(
                403, Text("This needs the role {role}; yours is {yours}.", role=self.role.value, yours=found.role)
            )
        if self.in_person and found.by_token:
            raise HTTPException(403, Text("This needs a login in person; an API token does not do."))
        if changes and not found.by_token:
            await check_csrf(request)
        return found


class RequireForMetrics(Require):
    """As `Require`, but a program on this host may go without where the settings allow it and speak of no proxy."""

    async def __call__(self, request: Request) -> Principal:
        settings = desk_of(request).settings
        proxied = bool(settings.public_url or settings.trusted_proxies)
        if settings.metrics_from_loopback and not proxied and is_from_this_host(request):
            return Principal("metrics", Role.VIEWER.value)
        return await super().__call__(request)


def require(role: Role, in_person: bool = False) -> Any:
    """`Depends(require(Role.OPERATOR))` for a route; mostly used through `AsViewer` and its kin."""
    return Require(role, in_person)


anyone = Anyone()

AsViewer = Annotated[Principal, Depends(require(Role.VIEWER))]
AsOperator = Annotated[Principal, Depends(require(Role.OPERATOR))]
AsAdmin = Annotated[Principal, Depends(require(Role.ADMIN))]
InPerson = Annotated[Principal, Depends(require(Role.VIEWER, in_person=True))]
AdminInPerson = Annotated[Principal, Depends(require(Role.ADMIN, in_person=True))]
AtDesk = Annotated[Desk, Depends(desk_of)]


async def check_csrf(request: Request) -> None:
    """Raise 403 unless the request carries the token of its own cookie."""
    given = request.headers.get("x-csrf-token", "")
    if not given and request.headers.get("content-type", "").startswith(FORM_TYPES):
        field = (await request.form()).get("csrf", "")
        given = "" if isinstance(field, UploadFile) else field
    if not given or not cookies.is_csrf_token(request, given):
        raise HTTPException(
            403, Text("This form is out of date or comes from another site; reload the page, try again.")
        )


def routes_of(app: FastAPI) -> Iterator[BaseRoute]:
    """Every route of the application, those of included routers too."""
    pending: list[Any] = list(app.routes)
    while pending:
        route = pending.pop(0)
        included = getattr(route, "original_router", None)  # FastAPI 0.13x and newer keep routers whole
        if included is None:
            yield route
        else:
            pending[:0] = included.routes


def guards_of(route: APIRoute) -> list[Guard]:
    """The guards among a route's dependencies."""

    def walk(dependant: Dependant) -> Iterator[Guard]:
        if isinstance(dependant.call, Guard):
            yield dependant.call
        for inner in dependant.dependencies:
            yield from walk(inner)

    return list(walk(route.dependant))


def check_guards(app: FastAPI) -> None:
    """Raise RuntimeError for a route that does not say who may use it, or lets anybody change something unasked."""
    for route in routes_of(app):
        if isinstance(route, Mount) and route.path == "/static":
            continue
        if not isinstance(route, APIRoute):
            raise RuntimeError(f"{route}: only APIRoutes can be guarded")
        if not guards_of(route):
            raise RuntimeError(f"{route.path}: the route does not say who may use it (node.dashboard.security.access)")
