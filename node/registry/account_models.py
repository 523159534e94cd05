"""The tables of people and programs that may use the dashboard, and of what they changed.

Beside `node.registry.models`, which holds what is where; nothing there refers to anything here. Secrets are stored as
hashes only: passwords as argon2id, session and API tokens as SHA-256 (they are 256 random bits, so a fast hash keeps
them as safe as a slow one would).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from node.registry.models import Base, BigId

NAME_LENGTH = 64
HASH_LENGTH = 64  # SHA-256 in hexadecimal
ADDRESS_LENGTH = 64


class User(Base):
    """A person with an account.

    name: lower case, unique. password_hash: argon2id in PHC notation; empty where an identity provider vouches.
    subject: the identity provider's name for the person ("issuer subject"); empty for a local account.
    """

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH), unique=True)
    password_hash: Mapped[str] = mapped_column(String(256), default="")
    subject: Mapped[str] = mapped_column(String(400), default="", index=True)
    role: Mapped[str] = mapped_column(String(16))
    disabled: Mapped[bool] = mapped_column(default=False)
    language: Mapped[str] = mapped_column(String(8), default="")
    created_at: Mapped[datetime]
    last_login_at: Mapped[datetime | None]
    password_changed_at: Mapped[datetime | None]


class LoginSession(Base):
    """A browser that is logged in; the row goes at logout, and ends by idle or absolute time-out."""

    __tablename__ = "login_sessions"

    token_hash: Mapped[str] = mapped_column(String(HASH_LENGTH), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    last_seen_at: Mapped[datetime]
    address: Mapped[str] = mapped_column(String(ADDRESS_LENGTH), default="")

    user: Mapped[User] = relationship()


class ApiToken(Base):
    """A program's key to the JSON API. user_id: who made it; None for one made on the console."""

    __tablename__ = "api_tokens"
    __table_args__ = (Index("ix_api_tokens_user", "user_id", "id"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    token_hash: Mapped[str] = mapped_column(String(HASH_LENGTH), unique=True)
    name: Mapped[str] = mapped_column(String(NAME_LENGTH))
    role: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]

    user: Mapped[User | None] = relationship()


class LoginAttempt(Base):
    """A login that has not succeeded (yet); counted to slow guessing down, forgotten after the window.

    name_hash: SHA-256 of the name as typed, because people type passwords into that field.
    """

    __tablename__ = "login_attempts"
    __table_args__ = (
        Index("ix_login_attempts_name", "name_hash", "at"),
        Index("ix_login_attempts_address", "address", "at"),
        Index("ix_login_attempts_at", "at"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    name_hash: Mapped[str] = mapped_column(String(HASH_LENGTH))
    address: Mapped[str] = mapped_column(String(ADDRESS_LENGTH))


class SetupCode(Base):
    """The one-time code that guards making the first account; printed on the console, gone once there is one."""

    __tablename__ = "setup_codes"

    code_hash: Mapped[str] = mapped_column(String(HASH_LENGTH), primary_key=True)
    created_at: Mapped[datetime]


class AuditEntry(Base):
    """Who changed what, and when. The database itself refuses to change or delete a row (triggers, step 0002).

    object: what was changed, as a person would call it ("user jane", "job 17"). before, after: the values that
    changed; never a password, a token or its hash.
    """

    __tablename__ = "audit"
    __table_args__ = (
        Index("ix_audit_at", "at"),
        Index("ix_audit_who", "who", "id"),
        Index("ix_audit_action", "action", "id"),
        Index("ix_audit_object", "object", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime]
    who: Mapped[str] = mapped_column(String(128))
    role: Mapped[str] = mapped_column(String(16))
    address: Mapped[str] = mapped_column(String(ADDRESS_LENGTH), default="")
    action: Mapped[str] = mapped_column(String(48))
    object: Mapped[str] = mapped_column(String(200), default="")
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    note: Mapped[str] = mapped_column(Text, default="")
