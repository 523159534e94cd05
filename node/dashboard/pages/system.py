"""For programs beside the node: /healthz without a login, /metrics by token or from this host."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from node.dashboard.health import examine
from node.dashboard.metrics import CONTENT_TYPE, exposition
from node.dashboard.security.access import AtDesk, RequireForMetrics, anyone
from node.dashboard.security.principal import Principal
from node.registry import queries
from node.registry.roles import Role

router = APIRouter(include_in_schema=False)


@router.get("/healthz", dependencies=[Depends(anyone)])
def healthz(desk: AtDesk) -> JSONResponse:
    found = examine(desk.configuration, desk.registry, desk.storage, desk.clock())
    return JSONResponse(found.plain(), status_code=200 if found.ok else 503)


@router.get("/metrics")
def metrics(desk: AtDesk, who: Annotated[Principal, Depends(RequireForMetrics(Role.VIEWER))]) -> Response:
    with desk.registry.reading() as session:
        overview = queries.overview(session, desk.clock())
    return PlainTextResponse(exposition(overview, desk.storage.free_bytes()), media_type=CONTENT_TYPE)
