"""In and out: login, logout, the first account; language and theme, which need no login."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from node.dashboard.desk import Desk
from node.dashboard.i18n import LANGUAGES, Text
from node.dashboard.render import THEMES, local_path
from node.dashboard.security import cookies, passwords
from node.dashboard.security.access import AtDesk, InPerson, anyone
from node.dashboard.security.addresses import client_address
from node.dashboard.security.login import Refused, log_in, log_out, make_first_admin
from node.dashboard.security.passwords import WeakPassword
from node.errors import PermanentError
from node.registry import accounts
from node.registry.account_models import User

router = APIRouter(include_in_schema=False)

Field = Annotated[str, Form(max_length=1000)]
Open = Depends(anyone)

WRONG = Text("Name or password is not right.")
WRONG_CODE = Text("The set-up code is not right; the newest one stands in the node's log.")
THROTTLED = Text("Too many attempts; wait a quarter of an hour.")


@router.get("/login", dependencies=[Open])
def login_page(request: Request, desk: AtDesk, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    if request.state.principal is not None:
        return RedirectResponse(local_path(next), 303)
    if _is_new(desk):
        return RedirectResponse("/setup", 303)
    return desk.pages.page(
        request, "login.html", {"next": local_path(next), "problem": None, "name": "", **_provider(desk)}
    )


@router.post("/login", dependencies=[Open])
def login(
    request: Request,
    desk: AtDesk,
    name: Field,
    password: Field,
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    address = client_address(request, desk.settings.trusted_proxies)
    outcome = log_in(desk, name, password, address, request.cookies.get(cookies.SESSION, ""))
    if isinstance(outcome, Refused):
        throttled = outcome is Refused.THROTTLED
        values = {
            "next": local_path(next),
            "problem": THROTTLED if throttled else WRONG,
            "name": name,
            **_provider(desk),
        }
        return desk.pages.page(request, "login.html", values, 429 if throttled else 401)
    return enter(desk, request, *outcome, local_path(next))


@router.get("/setup", dependencies=[Open])
def setup_page(request: Request, desk: AtDesk) -> Response:
    if not _is_new(desk):
        return RedirectResponse("/login", 303)
    values = {"problem": None, "name": "", "code": "", "least": passwords.MIN_LENGTH, **_provider(desk)}
    return desk.pages.page(request, "setup.html", values)


@router.post("/setup", dependencies=[Open])
def setup(request: Request, desk: AtDesk, code: Field, name: Field, password: Field, again: Field) -> Response:
    if not _is_new(desk):
        return RedirectResponse("/login", 303)
    address = client_address(request, desk.settings.trusted_proxies)
    problem: Text | None = None if password == again else Text("The two passwords are not the same.")
    status = 409
    if problem is None:
        try:
            outcome = make_first_admin(desk, code, name, password, address)
        except WeakPassword as error:
            problem = error.text
        except PermanentError as error:
            problem = Text(str(error))
        else:
            if not isinstance(outcome, Refused):
                return enter(desk, request, *outcome, "/")
            problem, status = (THROTTLED, 429) if outcome is Refused.THROTTLED else (WRONG_CODE, 403)
    values = {"problem": problem, "name": name, "code": code, "least": passwords.MIN_LENGTH, **_provider(desk)}
    return desk.pages.page(request, "setup.html", values, status)


@router.post("/logout")
def logout(request: Request, desk: AtDesk, who: InPerson) -> Response:
    log_out(desk, who, request.cookies.get(cookies.SESSION, ""))
    answer = RedirectResponse("/login", 303)
    for name in (cookies.SESSION, cookies.VISITOR):
        cookies.drop(answer, name)
    return answer


@router.post("/language", dependencies=[Open])
def choose_language(
    request: Request, desk: AtDesk, language: Field, next: Annotated[str, Form(max_length=2000)] = "/"
) -> Response:
    answer = RedirectResponse(local_path(next), 303)
    if language in LANGUAGES:
        cookies.put(answer, cookies.LANGUAGE, language, desk.pages.secure(request), cookies.CHOICE_AGE_S)
        me = request.state.principal
        if me is not None and me.user_id is not None:
            with desk.registry.transaction() as session:  # a taste, not a change to audit
                session.get_one(User, me.user_id).language = language
    return answer


@router.post("/theme", dependencies=[Open])
def choose_theme(
    request: Request, desk: AtDesk, theme: Field, next: Annotated[str, Form(max_length=2000)] = "/"
) -> Response:
    answer = RedirectResponse(local_path(next), 303)
    if theme in THEMES:
        cookies.put(answer, cookies.THEME, theme, desk.pages.secure(request), cookies.CHOICE_AGE_S)
    return answer


def enter(desk: Desk, request: Request, token: str, user: User, where: str) -> Response:
    """Logged in: the session's cookie, and the language the person chose last."""
    answer = RedirectResponse(where, 303)
    secure = desk.pages.secure(request)
    cookies.put(answer, cookies.SESSION, token, secure)
    cookies.drop(answer, cookies.VISITOR)
    if user.language in LANGUAGES and cookies.LANGUAGE not in request.cookies:
        cookies.put(answer, cookies.LANGUAGE, user.language, secure, cookies.CHOICE_AGE_S)
    return answer


def _provider(desk: Desk) -> dict[str, str | None]:
    """What the button says that goes to the identity provider; None for no button."""
    settings = desk.settings.oidc
    return {"provider": (settings.label or Text("Log in with the hospital's account")) if settings else None}


def _is_new(desk: Desk) -> bool:
    with desk.registry.reading() as session:
        return not accounts.any_user(session)
