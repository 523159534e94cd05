"""A login with name and password, and the first account.

    typed name, password --> attempt noted --> throttled? --> argon2id (also for unknown names) --> session

An unknown name, a disabled account and a wrong password get the same answer after the same work.
"""

from __future__ import annotations

from enum import Enum

from sqlalchemy import select

from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from node.dashboard.security import passwords
from node.dashboard.security.oidc import OidcRefused, Person
from node.dashboard.security.principal import Principal, time_outs
from node.registry import accounts, credentials
from node.registry.account_models import User
from node.registry.audit import Actor, audited
from node.registry.roles import Role

UNKNOWN = Actor("(not logged in)", "none")

DISABLED = Text("Your account is disabled here; ask an admin.")
NAME_TAKEN = Text("An account of your name is here already and is not yours at the identity provider; ask an admin.")


class Refused(Enum):
    """Why a login was refused."""

    WRONG = "wrong"
    THROTTLED = "throttled"


def log_in(desk: Desk, name: str, password: str, address: str, old_token: str = "") -> tuple[str, User] | Refused:
    """Check name and password; returns the new session's token and the account.

    `old_token` is the session of the browser so far, which ends.
    """
    now, name = desk.clock(), name.strip().lower()
    with desk.registry.transaction() as session:
        attempt = credentials.note_attempt(session, name, address, now)
    with desk.registry.reading() as session:
        throttled = credentials.is_throttled(session, name, address, now)
        user = session.scalars(select(User).where(User.name == name)).one_or_none()
    if throttled:
        with desk.registry.transaction() as session:
            credentials.forget_attempts(session, attempt)
        return Refused.THROTTLED
    stored = user.password_hash if user is not None and not user.disabled else ""
    if not passwords.verify_password(password, stored) or user is None:
        # The name as typed is not written: people type passwords into that field.
        with desk.registry.transaction() as session:
            who = Actor(UNKNOWN.name, UNKNOWN.role, address)
            about = f"user {user.name}" if user is not None else "unknown user"
            audited(session, who, "login.failed", about, now=now)
        return Refused.WRONG
    with desk.registry.transaction() as session:
        account = session.get_one(User, user.id)
        if passwords.needs_rehash(account.password_hash):
            account.password_hash = passwords.hash_password(password)
        credentials.forget_attempts(session, attempt, name, address)
        return open_session(desk, session, account, address, old_token), account


def open_session(desk: Desk, session, account: User, address: str, old_token: str) -> str:
    """A new session for the account, in place of the browser's old one."""
    now = desk.clock()
    if old_token:
        credentials.end_session(session, old_token)
    token = credentials.new_session(session, account, address, time_outs(desk), now)
    audited(session, Actor(account.name, account.role, address), "login", f"user {account.name}", now=now)
    return token


def log_in_as(desk: Desk, person: Person, address: str, old_token: str = "") -> tuple[str, User]:
    """A session for somebody whom the identity provider vouches for; the account is made at the first login.

    The role is the provider's at every login. A local account of the same name is somebody else's until an admin says
    otherwise: it is never taken over.

    Raises
    ------
    OidcRefused
        If the account is disabled, or the name belongs to another one.
    PermanentError
        If the role would take away the last admin.
    """
    now = desk.clock()
    by = Actor("(identity provider)", "none", address)
    with desk.registry.transaction() as session:
        account = session.scalars(select(User).where(User.subject == person.subject)).one_or_none()
        if account is None:
            name = accounts.name_for(person.name, person.subject.rpartition(" ")[2])
            if session.scalar(select(User.id).where(User.name == name)) is not None:
                raise OidcRefused(NAME_TAKEN, f"a local account has the name '{name}'")
            account = accounts.add_user(session, by, name, person.role, "", now, person.subject)
            credentials.forget_setup_codes(session)
        if account.disabled:
            raise OidcRefused(DISABLED, f"the account {account.name} is disabled")
        accounts.set_role(session, by, account, person.role, now)
        return open_session(desk, session, account, address, old_token), account


def note_refusal(desk: Desk, why: str, address: str) -> None:
    """A login that the identity provider's answer did not allow, in the audit trail."""
    with desk.registry.transaction() as session:
        audited(session, Actor(UNKNOWN.name, UNKNOWN.role, address), "login.failed", "identity provider",
                now=desk.clock(), note=why)  # fmt: skip


def log_out(desk: Desk, who: Principal, token: str) -> None:
    with desk.registry.transaction() as session:
        credentials.end_session(session, token)
        audited(session, who, "logout", f"user {who.name}", now=desk.clock())


def make_first_admin(desk: Desk, code: str, name: str, password: str, address: str) -> tuple[str, User] | Refused:
    """The first account, an admin, by whoever knows the code that stands on the console.

    Raises
    ------
    WeakPassword, PermanentError
        If the password or the name will not do.
    """
    now = desk.clock()
    with desk.registry.transaction() as session:
        attempt = credentials.note_attempt(session, "(set-up)", address, now)
    with desk.registry.reading() as session:
        throttled = credentials.is_throttled(session, "(set-up)", address, now)
        right = not accounts.any_user(session) and credentials.is_setup_code(session, code)
    if throttled or not right:
        if throttled:
            with desk.registry.transaction() as session:
                credentials.forget_attempts(session, attempt)
        return Refused.THROTTLED if throttled else Refused.WRONG
    passwords.check_strength(password, accounts.normal_name(name))
    hashed = passwords.hash_password(password)
    with desk.registry.transaction() as session:
        # Once more, inside the transaction that makes it: the code works once, whoever else holds it.
        if accounts.any_user(session) or not credentials.is_setup_code(session, code):
            return Refused.WRONG
        actor = Actor("(set-up)", "none", address)
        account = accounts.add_user(session, actor, name, Role.ADMIN, hashed, now)
        credentials.forget_setup_codes(session)
        credentials.forget_attempts(session, attempt, "(set-up)", address)
        return open_session(desk, session, account, address, ""), account
