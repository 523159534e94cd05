"""Destinations for programs: list, test, pause, resume, send again or set aside what failed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from node.dashboard.api.description import PROBLEMS
from node.dashboard.destinations import (
    DestinationView,
    ProbeView,
    destination_views,
    examine_destination,
    known_name,
)
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.registry import destinations

router = APIRouter(prefix="/api/v1/destinations", responses=PROBLEMS, tags=["destinations"])


class Resent(BaseModel):
    """How many deliveries are due again."""

    deliveries: int


class Dismissed(BaseModel):
    """How many deliveries were set aside."""

    deliveries: int


@router.get("", response_model=list[DestinationView], summary="Every destination with its state and its queue")
def list_destinations(desk: AtDesk, who: AsViewer) -> Any:
    with desk.registry.reading() as session:
        return destination_views(desk, session)


@router.post("/{name}/test", response_model=ProbeView, summary="C-ECHO, and what the peer accepts; sends nothing")
def examine(desk: AtDesk, who: AsOperator, name: str) -> Any:
    return examine_destination(desk, name)


@router.post(
    "/{name}/pause", response_model=list[DestinationView], summary="Let results wait; asking twice changes nothing"
)
def pause(desk: AtDesk, who: AsOperator, name: str) -> Any:
    with desk.registry.transaction() as session:
        destinations.pause(session, who, known_name(desk, session, name), desk.clock())
    return list_destinations(desk, who)


@router.post("/{name}/resume", response_model=list[DestinationView], summary="Send again what waits")
def resume(desk: AtDesk, who: AsOperator, name: str) -> Any:
    with desk.registry.transaction() as session:
        destinations.resume(session, who, known_name(desk, session, name), desk.clock())
    return list_destinations(desk, who)


@router.post("/{name}/resend", response_model=Resent, summary="Send everything again that failed there")
def resend(desk: AtDesk, who: AsOperator, name: str) -> Any:
    with desk.registry.transaction() as session:
        count = destinations.resend_all_failed(session, who, known_name(desk, session, name), desk.clock())
    return Resent(deliveries=count)


@router.post("/{name}/dismiss", response_model=Dismissed, summary="Set aside what failed there: not sent, no failure")
def dismiss(desk: AtDesk, who: AsOperator, name: str) -> Any:
    with desk.registry.transaction() as session:
        count = destinations.dismiss_all_failed(session, who, known_name(desk, session, name), desk.clock())
    return Dismissed(deliveries=count)
