"""What programs read first: the node at a glance."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from node.dashboard.api.description import PROBLEMS
from node.dashboard.security.access import AsViewer, AtDesk
from node.registry import queries
from node.registry.views import Overview

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


@router.get("/overview", response_model=Overview, tags=["node"], summary="The node at a glance")
def overview(desk: AtDesk, who: AsViewer) -> Any:
    with desk.registry.reading() as session:
        return asdict(queries.overview(session, desk.clock()))
