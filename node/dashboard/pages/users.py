"""People's accounts, for admins: list, add, role, password, disable, revoke tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from node.dashboard.i18n import Text
from node.dashboard.i18n import translate as _
from node.dashboard.security import passwords
from node.dashboard.security.access import AdminInPerson, AsAdmin, AtDesk
from node.registry import accounts, credentials
from node.registry.account_models import User
from node.registry.paging import page
from node.registry.roles import Role

router = APIRouter(prefix="/users", include_in_schema=False)

Word = Annotated[str, Query(max_length=200)]
Field = Annotated[str, Form(max_length=1000)]


@router.get("")
def users_page(
    request: Request, desk: AtDesk, who: AsAdmin, text: Word = "", role: Word = "", state: Word = "", cursor: Word = ""
) -> Response:
    with desk.registry.reading() as session:
        found = page(session, accounts.users(text, role, state), (User.name,), cursor, descending=False)
    values = {"page": found, "text": text, "role": role, "state": state, "roles": list(Role)}
    return desk.pages.page(request, "users.html", values)


@router.post("")
def add_user(
    request: Request,
    desk: AtDesk,
    who: AdminInPerson,
    name: Field,
    role: Annotated[Role, Form()],
    password: Field,
) -> Response:
    passwords.check_strength(password, accounts.normal_name(name))
    hashed = passwords.hash_password(password)
    with desk.registry.transaction() as session:
        made = accounts.add_user(session, who, name, role, hashed, desk.clock())
    return desk.pages.done(request, f"/users/{made.id}", _("The account of {name} is made.", name=made.name))


@router.get("/{user_id}")
def user_page(request: Request, desk: AtDesk, who: AsAdmin, user_id: int) -> Response:
    with desk.registry.reading() as session:
        user = _user(session, user_id)
        tokens = session.scalars(credentials.tokens(user)).all()
    return desk.pages.page(request, "user.html", {"user": user, "tokens": tokens, "roles": list(Role)})


@router.post("/{user_id}/role")
def change_role(
    request: Request, desk: AtDesk, who: AdminInPerson, user_id: int, role: Annotated[Role, Form()]
) -> Response:
    with desk.registry.transaction() as session:
        user = _user(session, user_id)
        accounts.set_role(session, who, user, role, desk.clock())
    return desk.pages.done(request, f"/users/{user_id}", _("{name} is now {role}.", name=user.name, role=_(role.value)))


@router.post("/{user_id}/password")
def reset_password(request: Request, desk: AtDesk, who: AdminInPerson, user_id: int, password: Field) -> Response:
    with desk.registry.reading() as session:
        name = _user(session, user_id).name
    passwords.check_strength(password, name)
    hashed = passwords.hash_password(password)
    with desk.registry.transaction() as session:
        accounts.set_password(session, who, _user(session, user_id), hashed, desk.clock())
    return desk.pages.done(request, f"/users/{user_id}", _("{name} has a new password.", name=name))


@router.post("/{user_id}/{verb}")
def change_access(
    request: Request, desk: AtDesk, who: AdminInPerson, user_id: int, verb: Literal["disable", "enable"]
) -> Response:
    with desk.registry.transaction() as session:
        user = _user(session, user_id)
        accounts.set_disabled(session, who, user, verb == "disable", desk.clock())
    said = _("{name} is shut out.", name=user.name) if user.disabled else _("{name} can log in again.", name=user.name)
    return desk.pages.done(request, f"/users/{user_id}", said)


@router.post("/{user_id}/tokens/{token_id}/revoke")
def revoke_token(request: Request, desk: AtDesk, who: AdminInPerson, user_id: int, token_id: int) -> Response:
    with desk.registry.transaction() as session:
        credentials.revoke_token(session, who, token_id, _user(session, user_id), desk.clock())
    return desk.pages.done(request, f"/users/{user_id}", _("The token does not work any more."))


def _user(session: Session, user_id: int) -> User:
    user = session.get(User, user_id) if user_id < 2**63 else None
    if user is None:
        raise HTTPException(404, Text("There is no such user."))
    return user
