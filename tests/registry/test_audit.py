"""The audit trail cannot be changed, not even by SQL, on both databases; keyset pages meet every row once."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from node.registry.account_models import AuditEntry
from node.registry.audit import Actor, AuditFilter, audited, entries
from node.registry.database import Registry
from node.registry.models import Study
from node.registry.paging import CursorError, page

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
WHO = Actor("ada", "admin", "192.0.2.7")

STATEMENTS = {
    "sqlite": (
        "UPDATE audit SET who = 'nobody'",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit (id, at, who, role, address, action, object, note) "
        "SELECT id, at, 'nobody', role, address, action, object, note FROM audit",
    ),
    "postgresql": ("UPDATE audit SET who = 'nobody'", "DELETE FROM audit", "TRUNCATE audit"),
}


def test_the_database_refuses_to_change_what_was_audited(registry: Registry) -> None:
    with registry.transaction() as session:
        audited(session, WHO, "job.retry", "job 1", {"state": "failed"}, {"state": "queued"}, now=NOW)
    for statement in STATEMENTS[registry.engine.dialect.name]:
        with pytest.raises(DBAPIError, match="append-only"), registry.transaction() as session:
            session.execute(text(statement))
    with registry.reading() as session:
        (row,) = session.scalars(select(AuditEntry))
    assert (row.at, row.who, row.after) == (NOW, "ada", {"state": "queued"})


def test_a_change_that_is_rolled_back_leaves_no_entry(registry: Registry) -> None:
    with pytest.raises(ZeroDivisionError), registry.transaction() as session:
        audited(session, WHO, "job.retry", "job 1", now=NOW)
        session.flush()
        raise ZeroDivisionError
    with registry.reading() as session:
        assert session.scalar(select(AuditEntry.id)) is None


def test_the_filters_of_the_trail_take_wildcards_as_they_are(registry: Registry) -> None:
    with registry.transaction() as session:
        for name in ("user 100%", "user 100x", "job 1"):
            audited(session, WHO, "user.add", name, now=NOW)
    with registry.reading() as session:
        found = session.scalars(entries(AuditFilter(object="user 100%"))).all()
        assert [row.object for row in found] == ["user 100%"]
        assert session.scalars(entries(AuditFilter(since=NOW + timedelta(seconds=1)))).all() == []
        assert len(session.scalars(entries(AuditFilter(who="ada", until=NOW + timedelta(seconds=1)))).all()) == 3


@pytest.mark.parametrize("descending", [True, False])
def test_keyset_pages_there_and_back_meet_every_row_once_in_order(registry: Registry, descending: bool) -> None:
    rng = random.Random(6)
    with registry.transaction() as session:
        for number in range(23):  # few distinct times, so that the second key decides
            session.add(Study(study_uid=f"1.2.{number}", created_at=NOW + timedelta(seconds=rng.randrange(5))))
    keys = (Study.created_at, Study.id)
    with registry.reading() as session:
        expected = sorted((tuple(row) for row in session.execute(select(*keys))), reverse=descending)
        statement = select(Study)
        pages = [page(session, statement, keys, limit=5, descending=descending)]
        while pages[-1].older:
            pages.append(page(session, statement, keys, pages[-1].older, 5, descending))
        assert [(row.created_at, row.id) for one in pages for row in one.rows] == expected
        assert [len(one.rows) for one in pages] == [5, 5, 5, 5, 3]
        assert pages[0].newer is None
        back = [pages[-1]]
        while back[-1].newer:
            back.append(page(session, statement, keys, back[-1].newer, 5, descending))
        assert [one.rows for one in reversed(back)] == [one.rows for one in pages]
        assert back[-1].older is not None


@pytest.mark.parametrize("cursor", ["x", "WzBd", "bnVsbA", "WzAsMSwyXQ", "WzAsInllc3RlcmRheSIsMV0", "é", "WzIsMV0"])
def test_a_damaged_cursor_is_refused_with_a_sentence(sqlite_registry: Registry, cursor: str) -> None:
    with sqlite_registry.reading() as session, pytest.raises(CursorError, match="start from the first page"):
        page(session, select(Study), (Study.created_at, Study.id), cursor)
