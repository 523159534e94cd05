"""The first page: is it healthy, what runs, what waits, how fast, who has gone quiet.

Each live block asks only its own questions. The silence alarms look back over weeks, so their answer is kept for a
minute.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.orm import Session

from node.dashboard.desk import Desk
from node.dashboard.health import examine
from node.dashboard.i18n import N_
from node.dashboard.liveness import is_lost
from node.dashboard.pages.overview_charts import WINDOWS, start_of, throughput
from node.dashboard.pages.overview_silence import LOOK_BACK, Silence, silences
from node.dashboard.patients import shown_patients
from node.dashboard.render import fragment_of
from node.dashboard.security.access import AsViewer, AtDesk
from node.dashboard.security.principal import Principal
from node.registry import queries
from node.registry import queries_overview as ask
from node.registry.database import Registry
from node.registry.views import SeriesRow

router = APIRouter(include_in_schema=False)

QUEUES = (N_("infer"), N_("deliver"), N_("upkeep"))
JOBS_SHOWN = SERIES_SHOWN = 12
EVENTS_SHOWN = 12
LOSSES_OF = timedelta(hours=24)
SILENCE_KEPT = timedelta(seconds=60)

Block = Callable[[Desk, Principal, Session, datetime], dict[str, Any]]

_silences: WeakKeyDictionary[Registry, tuple[datetime, dict[str, list[Silence]]]] = WeakKeyDictionary()


@router.get("/")
def overview_page(
    request: Request, desk: AtDesk, who: AsViewer, window: Annotated[str, Query(max_length=10)] = "day"
) -> Response:
    now = desk.clock()
    chosen = WINDOWS.get(window, WINDOWS["day"])
    blocks: dict[str, Block] = {
        "health": _health,
        "running": _running,
        "queues": _queues,
        "charts": lambda _desk, _who, session, now: {
            "windows": WINDOWS,
            "window": chosen,
            "throughput": throughput(chosen, now, ask.finished_since(session, start_of(chosen, now), chosen.by_minute)),
        },
        "destinations": _destinations,
        "silence": _silence,
        "workers": _workers,
        "jobs": _jobs,
        "series": _series,
        "events": lambda _desk, _who, session, _now: {"events": ask.newest_events(session, EVENTS_SHOWN)},
    }
    only = fragment_of(request)
    values: dict[str, Any] = {}
    with desk.registry.reading() as session:
        for name, block in blocks.items():
            if only in ("", name):
                values |= block(desk, who, session, now)
    return desk.pages.page(request, "overview.html", values)


def _health(desk: Desk, _who: Principal, _session: Session, now: datetime) -> dict[str, Any]:
    spool, retention = desk.configuration.settings.spool, desk.configuration.settings.retention
    return {
        "health": examine(desk.configuration, desk.registry, desk.storage, now),
        "free_bytes": desk.storage.free_bytes(),
        "refuse_bytes": spool.min_free_bytes,
        "tidy_bytes": retention.pressure_free_bytes,
    }


def _running(desk: Desk, who: Principal, session: Session, _now: datetime) -> dict[str, Any]:
    running = ask.running_jobs(session)
    return {
        "running": running,
        "running_patients": shown_patients(desk, who, session, {job.study_uid for job in running}),
        "states": ask.open_states(session),
    }


def _queues(desk: Desk, _who: Principal, session: Session, now: datetime) -> dict[str, Any]:
    return {"queues": queue_rows(desk, session, now)}


def queue_rows(desk: Desk, session: Session, now: datetime) -> list[ask.QueueRow]:
    """What waits: for a worker by pipeline, for a destination by name, for upkeep; a line for each queue at least."""
    rows = ask.queued_by_pipeline(session) or [ask.QueueRow("infer", "", 0, None)]
    waiting = [row for row in destination_rows(desk, session) if row.pending]
    rows += [ask.QueueRow("deliver", row.name, row.pending, row.oldest_pending_at) for row in waiting]
    if not waiting:
        rows.append(ask.QueueRow("deliver", "", 0, None))
    rows.append(ask.QueueRow("upkeep", "", ask.questions_waiting(session, now), None))
    return rows


def _destinations(desk: Desk, _who: Principal, session: Session, _now: datetime) -> dict[str, Any]:
    return {
        "destinations": destination_rows(desk, session),
        "configured": {destination.name: destination for destination in desk.configuration.destinations},
    }


def destination_rows(desk: Desk, session: Session) -> list[ask.DestinationRow]:
    """The destinations that are configured or were meant once."""
    return ask.destinations(session, [destination.name for destination in desk.configuration.destinations])


def _silence(desk: Desk, _who: Principal, session: Session, now: datetime) -> dict[str, Any]:
    return {"silences": silence_alarms(desk, session, now)}


def silence_alarms(desk: Desk, session: Session, now: datetime) -> dict[str, list[Silence]]:
    """ "source" and "rule" -> those that have gone quiet; looked for once in SILENCE_KEPT."""
    kept = _silences.get(desk.registry)
    if kept is None or not timedelta() <= now - kept[0] < SILENCE_KEPT:
        since = now - LOOK_BACK
        found = {
            "source": silences(ask.source_activity(session, since), now),
            "rule": silences(ask.rule_activity(session, since), now),
        }
        kept = _silences[desk.registry] = (now, found)
    return kept[1]


def _workers(_desk: Desk, _who: Principal, session: Session, now: datetime) -> dict[str, Any]:
    found = ask.workers(session)
    return {
        "workers": found,
        "lost": {worker.name for worker in found if is_lost(worker, now)},
        "losses": ask.lost_workers(session, now - LOSSES_OF),
    }


def _jobs(desk: Desk, who: Principal, session: Session, _now: datetime) -> dict[str, Any]:
    jobs = queries.job_rows(session, queries.newest_jobs(JOBS_SHOWN))
    return {"jobs": jobs, "job_patients": shown_patients(desk, who, session, {job.study_uid for job in jobs})}


def _series(desk: Desk, who: Principal, session: Session, _now: datetime) -> dict[str, Any]:
    rows = session.execute(queries.newest_series(SERIES_SHOWN))
    series = [queries.view_of(SeriesRow, row, study_uid=study_uid) for row, study_uid in rows]
    return {"series": series, "series_patients": shown_patients(desk, who, session, {one.study_uid for one in series})}
