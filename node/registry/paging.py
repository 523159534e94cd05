"""Keyset pagination: a page of rows and the way to its neighbours, at the same cost on every page.

    statement + key columns + cursor --page()--> rows, `older` and `newer` cursors (opaque text for an address)

A page is found by comparing the key of its neighbour's last row, so an index on the key columns serves it; nothing is
counted and no rows are skipped over.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from node.errors import PermanentError
from node.registry.models import UTCDateTime

T = TypeVar("T")

PAGE_ROWS = 50


class CursorError(PermanentError):
    """The cursor in an address is not one that was handed out."""


@dataclass(frozen=True)
class Page(Generic[T]):
    """Rows in the order of display; `older` and `newer` are cursors, None where there is nothing beyond."""

    rows: tuple[T, ...]
    older: str | None = None
    newer: str | None = None

    def of(self, view: Callable[[T], Any]) -> Page[Any]:
        """The same page with every row turned into something else."""
        return Page(tuple(view(row) for row in self.rows), self.older, self.newer)


def page(
    session: Session,
    statement: Select[Any],
    keys: Sequence[InstrumentedAttribute[Any]],
    cursor: str | None = None,
    limit: int = PAGE_ROWS,
    descending: bool = True,
) -> Page[Any]:
    """One page of `statement`, ordered by `keys`, the last of which must be unique.

    Parameters
    ----------
    statement
        A SELECT without ORDER BY. If it selects one thing, the rows are that thing; else they are tuples.
    cursor
        `older` or `newer` of another page; None or "" for the first one.
    descending
        True shows the greatest key first (newest first).

    Raises
    ------
    CursorError
        If the cursor was not made by this function for these keys.
    """
    width = len(statement.column_descriptions)
    backwards, position = _read(cursor, keys) if cursor else (False, None)
    downwards = descending is not backwards
    if position is not None:
        key, at = tuple_(*keys), tuple_(*position)
        statement = statement.where(key < at if downwards else key > at)
    order = [column.desc() if downwards else column.asc() for column in keys]
    found = session.execute(statement.add_columns(*keys).order_by(*order).limit(limit + 1)).all()
    more, found = len(found) > limit, found[:limit]
    if backwards:
        found = found[::-1]
    rows = tuple(row[0] if width == 1 else tuple(row[:width]) for row in found)
    if not found:
        return Page(rows)
    has_older, has_newer = (True, more) if backwards else (more, position is not None)
    return Page(
        rows,
        older=_write(False, found[-1][width:]) if has_older else None,
        newer=_write(True, found[0][width:]) if has_newer else None,
    )


def _write(backwards: bool, values: Sequence[Any]) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    text = json.dumps([int(backwards), *plain], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(cursor: str, keys: Sequence[InstrumentedAttribute[Any]]) -> tuple[bool, list[Any]]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        backwards, *values = json.loads(text)
        if len(values) != len(keys) or backwards not in (0, 1):
            raise ValueError("not as many values as keys")
        return bool(backwards), [_value(value, key) for value, key in zip(values, keys, strict=True)]
    except (ValueError, TypeError) as error:
        raise CursorError("the address of this page is damaged; start from the first page") from error


def _value(value: Any, key: InstrumentedAttribute[Any]) -> Any:
    if isinstance(key.type, UTCDateTime):
        at = datetime.fromisoformat(value)
        if at.tzinfo is None:
            raise ValueError("a time without a zone")
        return at
    kind = key.type.python_type
    if kind is int and not -(2**63) <= value < 2**63:
        raise ValueError("beyond what a database counts")
    if not isinstance(value, kind) or (isinstance(value, str) and "\0" in value):
        raise ValueError(f"not a {kind.__name__}")
    return value
