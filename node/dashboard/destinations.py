"""Destinations as the page and the API show them: configuration, pause, queue, last success and last error as one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fastapi import HTTPException
from sqlalchemy.orm import Session

from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from node.registry import destinations, queries_overview
from node.registry.destinations import DeliveryProblem
from node.settings import AnyDestination, Destination


@dataclass(frozen=True)
class DestinationView:
    """One destination.

    state: "paused", "failed" (something waits for a person), "warning" (the newest attempts went wrong), "pending"
    (results wait), "healthy"; "disabled" for one that is no longer in destinations.yaml. address: host:port, or the
    root of a DICOMweb service. send: kinds of result it is meant to get. segmentations: modalities of the series whose
    SEGs it gets; empty for all. last_error: of the newest result it did not take.
    """

    name: str
    state: str
    configured: bool
    address: str
    ae_title: str
    tls: bool
    send: tuple[str, ...]
    segmentations: tuple[str, ...]
    verify: str
    default: bool
    paused_since: datetime | None
    paused_by: str
    pending: int
    oldest_pending_at: datetime | None
    failed: int
    last_success_at: datetime | None
    last_error: DeliveryProblem | None


@dataclass(frozen=True)
class ProbeView:
    """What a test found. accepts: kind of result -> whether the peer would take it; empty without an association.

    refused: kinds that it is meant to get and does not take.
    """

    name: str
    answers: bool
    sentence: str
    accepts: dict[str, bool]
    refused: tuple[str, ...]


def destination_views(desk: Desk, session: Session) -> list[DestinationView]:
    """All that are configured, and those that results were once meant for."""
    configured = {one.name: one for one in desk.configuration.destinations}
    pauses = destinations.paused(session)
    views = []
    for row in queries_overview.destinations(session, {*configured, *pauses}):
        setting, pause = configured.get(row.name), pauses.get(row.name)
        if setting is None and not (pause or row.pending or row.failed):
            continue  # long gone, and nothing waits for it
        problem = destinations.last_problem(session, row.name)
        views.append(
            DestinationView(
                name=row.name,
                state=_state(setting, pause is not None, row.pending, row.failed, problem),
                configured=setting is not None,
                address=setting.address if setting else "",
                ae_title=setting.ae_title if isinstance(setting, Destination) else "",
                tls=_encrypted(setting),
                send=setting.send if setting else (),
                segmentations=_chosen(setting),
                verify=setting.verify if setting else "none",
                default=bool(setting and setting.default),
                paused_since=pause.since if pause else None,
                paused_by=pause.by if pause else "",
                pending=row.pending,
                oldest_pending_at=row.oldest_pending_at,
                failed=row.failed,
                last_success_at=row.last_success_at,
                last_error=problem,
            )
        )
    return views


def _chosen(setting: AnyDestination | None) -> tuple[str, ...]:
    return () if setting is None or isinstance(setting.segmentations, str) else setting.segmentations


def _encrypted(setting: AnyDestination | None) -> bool:
    if isinstance(setting, Destination):
        return setting.tls is not None
    return setting is not None and setting.url.startswith("https:")


def known_name(desk: Desk, session: Session, name: str) -> str:
    """`name` if there is such a destination; 404 otherwise."""
    if any(one.name == name for one in destination_views(desk, session)):
        return name
    raise HTTPException(404, Text("There is no such destination."))


def examine_destination(desk: Desk, name: str) -> ProbeView:
    """Test a configured destination and learn what it accepts; 404 for another. Takes up to ten seconds."""
    from node.deliver.places import probe

    setting = next((one for one in desk.configuration.destinations if one.name == name), None)
    if setting is None:
        raise HTTPException(404, Text("There is no such destination."))
    answer = probe(setting, calling_aet=desk.configuration.settings.listen.ae_title)
    refused = tuple(kind for kind in setting.send if answer.accepts and not answer.accepts.get(kind))
    return ProbeView(name, answer.echo.ok, answer.echo.sentence, answer.accepts, refused)


def _state(
    setting: AnyDestination | None, is_paused: bool, pending: int, failed: int, problem: DeliveryProblem | None
) -> str:
    if is_paused:
        return "paused"
    if setting is None:
        return "disabled"
    if failed:
        return "failed"
    if problem is not None:
        return "warning"
    return "pending" if pending else "healthy"
