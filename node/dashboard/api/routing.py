"""Routing for programs: the rules with their hits, the trace of a series, an edited text tried or put in force."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from node.assemble import rule_file
from node.dashboard import routing
from node.dashboard.api.description import PROBLEMS
from node.dashboard.routing import RoutingView, Trial
from node.dashboard.security.access import AsAdmin, AsOperator, AsViewer, AtDesk

router = APIRouter(prefix="/api/v1/routing", responses=PROBLEMS, tags=["routing"])


class EditedRules(BaseModel):
    """A text for routing.yaml. days: how far back the series go that it is tried on."""

    text: str = Field(max_length=rule_file.MAX_CHARACTERS)
    days: int = Field(default=7, ge=1, le=90)


class NewRules(BaseModel):
    """A text to put in force. base_sha256: of the text that was edited, as `GET /api/v1/routing` gave it."""

    text: str = Field(max_length=rule_file.MAX_CHARACTERS)
    base_sha256: str = Field(max_length=64)


@router.get("", response_model=RoutingView, summary="The rules in force, their hits, and the kept versions")
def rules(desk: AtDesk, who: AsViewer) -> Any:
    return routing.routing_view(desk)


@router.get("/explain/{series_uid}", summary="The whole trace of a received series, as `osteon route explain --json`")
def explain(desk: AtDesk, who: AsViewer, series_uid: str) -> dict[str, Any]:
    return routing.explain_series(desk, series_uid).as_json()


@router.post("/dry-run", response_model=Trial, summary="What an edited text would change; nothing is saved")
def try_rules(desk: AtDesk, who: AsOperator, edited: EditedRules) -> Any:
    return routing.try_text(desk, edited.text, edited.days)


@router.put("", response_model=RoutingView, summary="Put a text in force; the version before is kept")
def save(desk: AtDesk, who: AsAdmin, new: NewRules) -> Any:
    routing.save(desk, who, new.text, new.base_sha256)
    return routing.routing_view(desk)
