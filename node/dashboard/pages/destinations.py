"""Where results go: state and queue of each destination, test, pause and resume, send again what failed."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from node.dashboard.desk import Desk
from node.dashboard.destinations import ProbeView, destination_views, examine_destination, known_name
from node.dashboard.i18n import N_
from node.dashboard.i18n import translate as _
from node.dashboard.render import fragment_of
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.registry import destinations

KINDS = {"seg": "SEG", "sr": "SR", "sc": N_("secondary capture"), "seg-labelmap": "LABELMAP SEG"}
"""Kind of result -> as people say it."""

router = APIRouter(prefix="/destinations", include_in_schema=False)


@router.get("")
def destinations_page(request: Request, desk: AtDesk, who: AsViewer) -> Response:
    return _show(request, desk)


@router.post("/{name}/test")
def examine(request: Request, desk: AtDesk, who: AsOperator, name: str) -> Response:
    return _show(request, desk, examine_destination(desk, name))


@router.post("/{name}/resend")
def resend(request: Request, desk: AtDesk, who: AsOperator, name: str) -> Response:
    with desk.registry.transaction() as session:
        count = destinations.resend_all_failed(session, who, known_name(desk, session, name), desk.clock())
    said = _("{count} results for {name} are due again.", count=count, name=name)
    return desk.pages.done(request, "/destinations", said)


@router.post("/{name}/dismiss")
def dismiss(request: Request, desk: AtDesk, who: AsOperator, name: str) -> Response:
    with desk.registry.transaction() as session:
        count = destinations.dismiss_all_failed(session, who, known_name(desk, session, name), desk.clock())
    said = _("{count} results for {name} are set aside; Resend on a job's page sends one after all.", count=count,
             name=name)  # fmt: skip
    return desk.pages.done(request, "/destinations", said)


@router.post("/{name}/{verb}")
def change(request: Request, desk: AtDesk, who: AsOperator, name: str, verb: Literal["pause", "resume"]) -> Response:
    with desk.registry.transaction() as session:
        ask = destinations.pause if verb == "pause" else destinations.resume
        ask(session, who, known_name(desk, session, name), desk.clock())
    if verb == "pause":
        said = _("{name} is paused; results for it wait.", name=name)
    else:
        said = _("{name} is resumed; what waits is sent within seconds.", name=name)
    return desk.pages.done(request, "/destinations", said)


def _show(request: Request, desk: Desk, probe: ProbeView | None = None) -> Response:
    with desk.registry.reading() as session:
        views = destination_views(desk, session)
    file = desk.configuration.config_dir / "destinations.yaml"
    values = {"destinations": views, "probe": None if fragment_of(request) else probe, "file": file, "KINDS": KINDS}
    return desk.pages.page(request, "destinations.html", values)
