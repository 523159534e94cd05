"""Measurements of one patient over studies: who is the same patient, which job counts, what was known when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from node.registry.database import Registry
from node.registry.models import Study
from node.registry.trends import burden_of, previous, recent_patients, studies_of_patient, trend
from tests.dashboard.analysed import analyse
from tests.fixtures.registry import sqlite_registry

__all__ = ["sqlite_registry"]
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def summary(value: float | None, version: str = "1", reason: str = "") -> dict[str, Any]:
    def entry(code: str, scheme: str, number: float | None) -> dict[str, Any]:
        return {"name": {"value": code, "scheme": scheme, "meaning": code}, "value": number, "reason": reason}

    return {
        "quantities": [
            entry("BSTBI", "other", 9.0),
            entry("BSTBI", "99OSTEON", value),
            entry("BSTBI", "99OSTEON", 0.5),
        ],
        "models": [{"name": "net", "version": version}],
    }


@pytest.fixture
def registry(sqlite_registry: Registry) -> Registry:
    def done(number: int, day: int, date: str, value: float | None, patient: str = "P1", issuer: str = "A") -> None:
        analyse(
            sqlite_registry, number, NOW + day * DAY, summary(value, reason="0/0" if value is None else ""),
            patient_id=patient, patient_id_issuer=issuer, study_date=date,
        )  # fmt: skip

    done(1, 0, "20250301", 0.2)
    done(2, 1, "20240301", 0.1)  # an older scan that came later
    done(3, 2, "20260101", None)
    done(4, 3, "20260201", 0.3)
    done(5, 4, "20260301", 0.9, issuer="B")
    done(6, 5, "20260301", 0.8, patient="")
    done(7, 6, "20260302", 0.7, patient="")
    return sqlite_registry


def test_studies_of_a_patient_stand_in_order_of_their_dates(registry: Registry) -> None:
    with registry.reading() as session:
        found = trend(session, "1.2.4")
        assert trend(session, "1.2.99") is None
    assert found is not None
    assert [(one.date, one.value) for one in found.measurements] == [
        ("2024-03-01", 0.1),
        ("2025-03-01", 0.2),
        ("2026-01-01", None),
        ("2026-02-01", 0.3),
    ]
    assert found.measurements[2].reason == "0/0"


def test_another_issuer_or_no_number_is_another_patient(registry: Registry) -> None:
    with registry.reading() as session:
        sizes = {uid: len(trend(session, uid).measurements) for uid in ("1.2.5", "1.2.6", "1.2.7")}  # type: ignore[union-attr]
        assert sizes == {"1.2.5": 1, "1.2.6": 1, "1.2.7": 1}
        assert set(studies_of_patient(session, "P1")) == {"1.2.4", "1.2.5"}
        assert studies_of_patient(session, "") == []
        listed = recent_patients(session)
    assert [len(one.measurements) for one in listed] == [4, 1, 1, 1]
    assert len({one.pseudonym for one in listed}) == 4
    assert all("P1" not in one.pseudonym for one in listed)


def test_the_previous_study_is_the_last_measured_one_before_as_it_was_known_then(registry: Registry) -> None:
    with registry.reading() as session:
        ids = {
            uid: session.scalar(select(Study.id).where(Study.study_uid == uid)) for uid in ("1.2.1", "1.2.4", "1.2.6")
        }
        last = previous(session, ids["1.2.4"], NOW + 3 * DAY)
        assert last is not None and (last.date, last.value) == ("2025-03-01", 0.2), "2026-01-01 has no value"
        assert previous(session, ids["1.2.1"], NOW) is None, "the older scan was not there yet"
        known = previous(session, ids["1.2.1"], NOW + DAY)
        assert known is not None and known.date == "2024-03-01"
        assert previous(session, ids["1.2.6"], NOW + 9 * DAY) is None


def test_a_damaged_summary_has_no_index() -> None:
    assert burden_of(None) is None
    assert burden_of({"quantities": [{}]}) is None
    assert burden_of(summary(0.4)) == summary(0.4)["quantities"][1]
