"""The rows that are made up to measure with, and the measuring: over both databases, in small."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from node.bench.dashboard import bench_dashboard, percentile, text
from node.bench.seed import Plan, seed, settle
from node.errors import PermanentError
from node.registry.database import Registry
from node.registry.intake import register
from node.registry.models import Delivery, Instance, Job, Result, Study
from node.registry.states import DeliveryState, JobState
from tests.dashboard.conftest import NOW
from tests.registry.arrivals import arrival


def test_seeded_rows_are_the_numbers_asked_for_and_the_node_goes_on_behind_them(registry: Registry) -> None:
    seed(registry, Plan(instances=700, jobs=500, now=NOW))
    settle(registry)
    with registry.reading() as session:
        assert session.scalar(select(func.count(Instance.id))) == 700
        assert session.scalar(select(func.count(Job.id))) == 500
        assert session.scalar(select(func.max(Job.created_at))) < NOW
        done = session.scalar(select(func.count(Job.id)).where(Job.state == JobState.DONE.value))
        assert session.scalar(select(func.count(Result.id))) == 3 * done
    with registry.transaction() as session:  # numbered on from the made-up ones
        (made,) = register(session, [arrival(study=9)], NOW)
        assert made.series_id > 800
    with pytest.raises(PermanentError, match="only an empty one"):
        seed(registry, Plan(instances=1, jobs=1, now=NOW))


def test_a_past_without_open_work_leaves_a_node_nothing_to_do(sqlite_registry: Registry) -> None:
    seed(sqlite_registry, Plan(instances=100, jobs=400, now=NOW, days=14, patients=20, open_work=False))
    ended = {JobState.DONE, JobState.FAILED, JobState.REJECTED, JobState.CANCELLED}
    with sqlite_registry.reading() as session:
        assert set(session.scalars(select(Job.state).distinct())) <= ended
        pending = select(func.count(Delivery.id)).where(Delivery.state == DeliveryState.PENDING.value)
        assert session.scalar(pending) == 0
        assert session.scalar(select(func.count(Study.patient_id.distinct()))) == 20


def test_the_share_of_requests_is_counted_by_nearest_rank() -> None:
    values = [float(number) for number in range(1, 21)]
    assert percentile(values, 0.95) == 19.0
    assert percentile(values[::-1], 0.5) == 10.0
    assert percentile([7.0], 0.95) == 7.0


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_every_page_is_asked_for_over_http_and_timed(database: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("postgres_url") if database == "postgresql" else ""
    result = bench_dashboard(instances=600, jobs=400, rounds=4, url=url)
    assert (result["database"], result["instances"], result["jobs"]) == (database, 600, 400)
    assert {"overview", "jobs", "trend of a patient", "audit", "metrics"} <= result["rows"].keys()
    for name, row in result["rows"].items():
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["max_ms"], name
        assert row["kilobytes"] > 0, name
    assert "p95 over 150 ms" in text(result)
