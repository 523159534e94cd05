"""One's own account: password, language, API tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import Response

from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from node.dashboard.i18n import translate as _
from node.dashboard.security import passwords
from node.dashboard.security.access import AtDesk, InPerson
from node.dashboard.security.principal import Principal
from node.registry import accounts, credentials
from node.registry.account_models import User
from node.registry.roles import Role

router = APIRouter(prefix="/account", include_in_schema=False)

Field = Annotated[str, Form(max_length=1000)]


@router.get("")
def account_page(request: Request, desk: AtDesk, who: InPerson) -> Response:
    return _show(request, desk, who)


@router.post("/password")
def change_password(request: Request, desk: AtDesk, who: InPerson, old: Field, new: Field, again: Field) -> Response:
    with desk.registry.reading() as session:
        user = session.get_one(User, who.user_id)
        # Guessing the old password from an open session is slowed down like a login.
        throttled = credentials.is_throttled(session, user.name, who.address, desk.clock())
    if throttled:
        raise HTTPException(429, Text("Too many wrong passwords; wait a quarter of an hour."))
    if not passwords.verify_password(old, user.password_hash):
        with desk.registry.transaction() as session:
            credentials.note_attempt(session, user.name, who.address, desk.clock())
        raise HTTPException(409, Text("The old password is not right."))
    if new != again:
        raise HTTPException(409, Text("The two new passwords are not the same."))
    passwords.check_strength(new, user.name)
    hashed = passwords.hash_password(new)
    with desk.registry.transaction() as session:
        owner = session.get_one(User, who.user_id)
        accounts.set_password(session, who, owner, hashed, desk.clock(), keep=who.session_hash)
    return desk.pages.done(request, "/account", _("Your password is changed; other browsers are logged out."))


@router.post("/tokens")
def add_token(request: Request, desk: AtDesk, who: InPerson, name: Field, role: Annotated[Role, Form()]) -> Response:
    with desk.registry.transaction() as session:
        owner = session.get_one(User, who.user_id)
        token = credentials.add_token(session, who, name, role, owner, desk.clock())
    return _show(request, desk, who, token)


@router.post("/tokens/{token_id}/revoke")
def revoke_token(request: Request, desk: AtDesk, who: InPerson, token_id: int) -> Response:
    with desk.registry.transaction() as session:
        owner = session.get_one(User, who.user_id)
        credentials.revoke_token(session, who, token_id, owner, desk.clock())
    return desk.pages.done(request, "/account", _("The token does not work any more."))


def _show(request: Request, desk: Desk, who: Principal, token: str = "") -> Response:
    """The page; `token` is a new one, shown this once."""
    with desk.registry.reading() as session:
        user = session.get_one(User, who.user_id)
        tokens = session.scalars(credentials.tokens(user)).all()
    roles = [role for role in Role if who.may(role)]
    values = {"user": user, "tokens": tokens, "token": token, "roles": roles, "least": passwords.MIN_LENGTH}
    return desk.pages.page(request, "account.html", values)
