"""What SQLite and PostgreSQL both can do but SQLAlchemy spells per dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Float, String, func, literal_column, type_coerce
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session

from node.registry.models import Base


def insert_missing(
    session: Session, model: type[Base], rows: Sequence[dict[str, Any]], *unique: InstrumentedAttribute[Any]
) -> None:
    """Insert rows, leaving out those whose `unique` columns are there already, from whatever process."""
    if not rows:
        return
    columns = [column.key for column in unique]
    if session.get_bind().dialect.name == "sqlite":
        session.execute(sqlite.insert(model).on_conflict_do_nothing(index_elements=columns), rows)
    else:
        session.execute(postgresql.insert(model).on_conflict_do_nothing(index_elements=columns), rows)


def hour_text(session: Session, column: Any) -> ColumnElement[str]:
    """The hour of a time in UTC as 'YYYY-MM-DD HH', for grouping."""
    if session.get_bind().dialect.name == "sqlite":
        return func.substr(type_coerce(column, String), 1, 13)
    return _to_char(column, "YYYY-MM-DD HH24")


def minute_text(session: Session, column: Any) -> ColumnElement[str]:
    """The minute of a time in UTC as 'YYYY-MM-DD HH:MM', for grouping."""
    if session.get_bind().dialect.name == "sqlite":
        return func.substr(type_coerce(column, String), 1, 16)
    return _to_char(column, "YYYY-MM-DD HH24:MI")


def _to_char(column: Any, form: str) -> ColumnElement[str]:
    # Constants and not parameters: PostgreSQL takes the same expression with two parameters for two expressions, and
    # then refuses to group by it.
    return func.to_char(func.timezone(literal_column("'UTC'"), column), literal_column(f"'{form}'"))


def seconds_between(session: Session, later: Any, earlier: Any) -> ColumnElement[float]:
    """Seconds from one time to another."""
    if session.get_bind().dialect.name == "sqlite":
        return (func.julianday(later) - func.julianday(earlier)) * 86400.0
    return type_coerce(func.extract("epoch", later - earlier), Float())
