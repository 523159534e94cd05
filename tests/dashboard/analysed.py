"""Studies that were received, analysed and are on their way, put into a registry by the node's own functions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from node.registry.database import Registry
from node.registry.deliveries import ClaimedDelivery, PlannedDelivery, claim_deliveries
from node.registry.intake import Arrival, register
from node.registry.job_files import PRIMARY_ROLE
from node.registry.jobs import NewResult, claim_job, complete_job
from node.registry.models import Series
from node.registry.planning import JobPlan, PlannedInput, job_key, plan_job

KINDS = ("seg", "sr")


def receive(registry: Registry, number: int, at: datetime, **more: Any) -> tuple[int, int]:
    """The first instance of study `number`; returns the ids of study and series."""
    arrival = Arrival(
        **{
            "study_uid": f"1.2.{number}",
            "series_uid": f"1.2.{number}.1",
            "sop_uid": f"1.2.{number}.1.1",
            "sop_class_uid": "1.2.840.10008.5.1.4.1.1.20",
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
            "sha256": f"{number:064d}",
            "byte_count": 1,
            "received_at": at,
            "modality": "NM",
            "series_description": "WB bone",
            "headers": {"Modality": "NM", "SeriesDescription": "WB bone"},
            "calling_aet": "GAMMA2",
            **more,
        }
    )
    with registry.transaction() as session:
        (registered,) = register(session, [arrival], at)
        return session.get_one(Series, registered.series_id).study_id, registered.series_id


def analyse(
    registry: Registry,
    number: int,
    at: datetime,
    summary: dict[str, Any] | None = None,
    destinations: tuple[str, ...] = (),
    rule: str = "bone-scan",
    **more: Any,
) -> int:
    """A study that was received and analysed at `at`; its results wait for `destinations`. Returns the job's id."""
    study_id, series_id = receive(registry, number, at, **more)
    key = job_key("bone-scan", [f"1.2.{number}.1"])
    plan = JobPlan(key, study_id, "bone-scan", rule, {}, destinations, 5, (PlannedInput(series_id, PRIMARY_ROLE, 1),))
    results = [NewResult(kind, f"2.25.{number}{place}", "1.2", "2.25.9", f"results/{number}-{kind}", "0" * 64, 1)
               for place, kind in enumerate(KINDS)]  # fmt: skip
    planned = [PlannedDelivery(result.sop_uid, name) for name in destinations for result in results]
    with registry.transaction() as session:
        job = plan_job(session, plan, at)
        assert job is not None
        claim = claim_job(session, job.id, "worker/1", at, 60)
        assert claim is not None
        complete_job(session, claim, at, results, planned, summary or {})
    return job.id


def claim_next(registry: Registry, delivery_id: int, at: datetime) -> list[ClaimedDelivery]:
    with registry.transaction() as session:
        return claim_deliveries(session, delivery_id, "worker/2", at, 60, 32)
