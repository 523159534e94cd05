"""For programs beside the node: /healthz without a login, /metrics by token or from this host."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from node.dashboard.health import examine
from node.dashboard.metrics import CONTENT_TYPE, RECENT, Seen, exposition
from node.dashboard.pages.overview import destination_rows, queue_rows, silence_alarms
from node.dashboard.security.access import AtDesk, RequireForMetrics, anyone
from node.dashboard.security.principal import Principal
from node.registry import queries
from node.registry.destinations import paused
from node.registry.queries_overview import finished_since
from node.registry.roles import Role

router = APIRouter(include_in_schema=False)


@router.get("/healthz", dependencies=[Depends(anyone)])
def healthz(desk: AtDesk) -> JSONResponse:
    found = examine(desk.configuration, desk.registry, desk.storage, desk.clock())
    return JSONResponse(found.plain(), status_code=200 if found.ok else 503)


@router.get("/metrics")
def metrics(desk: AtDesk, who: Annotated[Principal, Depends(RequireForMetrics(Role.VIEWER))]) -> Response:
    now = desk.clock()
    health = examine(desk.configuration, desk.registry, desk.storage, now)
    with desk.registry.reading() as session:
        seen = Seen(
            now=now,
            healthy=health.ok,
            free_bytes=desk.storage.free_bytes(),
            overview=queries.overview(session, now),
            queues=queue_rows(desk, session, now),
            destinations=destination_rows(desk, session),
            paused=frozenset(paused(session)),
            silences=silence_alarms(desk, session, now),
            turnaround_s=[s for _at, state, s in finished_since(session, now - RECENT, True) if state == "done"],
        )
    return PlainTextResponse(exposition(seen), media_type=CONTENT_TYPE)
