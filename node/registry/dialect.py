"""What SQLite and PostgreSQL both can do but SQLAlchemy spells per dialect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
