"""The routing rules: as they are, asked about one file or series, edited, tried on the last days, saved, restored."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from node.assemble import rule_file
from node.assemble.explain import SeriesTrace, explain_text
from node.dashboard import routing
from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from node.dashboard.i18n import translate as _
from node.dashboard.routing import Trial
from node.dashboard.security.access import AsAdmin, AsOperator, AsViewer, AtDesk
from node.errors import ConfigurationError, OsteonError

router = APIRouter(prefix="/routing", include_in_schema=False)

DAYS = (1, 7, 30, 90)
MAX_FORM_BYTES = routing.MAX_UPLOAD_BYTES + 100_000

RuleText = Annotated[str, Form(max_length=rule_file.MAX_CHARACTERS * 2)]
Digest = Annotated[str, Form(max_length=64)]
Days = Annotated[int, Form(ge=1, le=90)]


async def modest(request: Request) -> None:
    """Refuse an upload before it is read; it stands before the guard, which reads the form."""
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise HTTPException(411, Text("Send the file with its length; a browser does."))
    if int(length) > MAX_FORM_BYTES:
        raise HTTPException(
            413,
            Text("The file is larger than {most} MB; ask on the node's console: osteon route explain FILE",
                 most=routing.MAX_UPLOAD_BYTES // 1_000_000),
        )  # fmt: skip


@router.get("")
def routing_page(
    request: Request, desk: AtDesk, who: AsViewer, series: Annotated[str, Query(max_length=64)] = ""
) -> Response:
    trace = problem = None
    if series.strip():
        try:
            trace = routing.explain_series(desk, series.strip())
        except OsteonError as error:
            problem = str(error)
    return _show(request, desk, trace, series, problem)


@router.post("/explain", max_body_size=MAX_FORM_BYTES)
async def explain_file(
    request: Request, size: Annotated[None, Depends(modest)], desk: AtDesk, who: AsOperator
) -> Response:
    async with request.form() as form:
        file = form.get("file")
        content = await file.read(routing.MAX_UPLOAD_BYTES) if isinstance(file, UploadFile) else b""
    if not content:
        return await run_in_threadpool(_show, request, desk, None, "", _("Choose a DICOM file first."))
    try:
        trace = await run_in_threadpool(routing.explain_upload, desk, content)
    except ConfigurationError as error:
        return await run_in_threadpool(_show, request, desk, None, "", str(error))
    return await run_in_threadpool(_show, request, desk, trace)


@router.get("/edit")
def edit_page(
    request: Request, desk: AtDesk, who: AsOperator, version: Annotated[str, Query(max_length=100)] = ""
) -> Response:
    view = routing.routing_view(desk)
    text = rule_file.version_text(desk.configuration, version) if version else view.text
    return _edit(request, desk, text, view.sha256, None, version)


@router.post("/try")
def try_rules(
    request: Request, desk: AtDesk, who: AsOperator, text: RuleText, base: Digest, days: Days = 7
) -> Response:
    trial = routing.try_text(desk, text, days)
    return _edit(request, desk, trial.text, base, trial)


@router.post("/save")
def save_rules(
    request: Request, desk: AtDesk, who: AsAdmin, text: RuleText, base: Digest, tried: Digest, days: Days = 7
) -> Response:
    """Saves what was tried; a text that was edited since is tried first."""
    if rule_file.digest(rule_file.plain_text(text)) != tried:
        return try_rules(request, desk, who, text, base, days)
    routing.save(desk, who, text, base)
    return desk.pages.done(request, "/routing", _("The rules are saved; the node routes by them within seconds."))


def _show(
    request: Request, desk: Desk, trace: SeriesTrace | None = None, series: str = "", problem: str | None = None
) -> Response:
    values = {
        "routing": routing.routing_view(desk),
        "trace": trace,
        "trace_text": explain_text(trace) if trace else "",
        "series": series,
        "problem": problem,
        "most_mb": routing.MAX_UPLOAD_BYTES // 1_000_000,
    }
    return desk.pages.page(request, "routing.html", values)


def _edit(request: Request, desk: Desk, text: str, base: str, trial: Trial | None, version: str = "") -> Response:
    days = trial.days if trial else 7
    values = {"text": text, "base": base, "trial": trial, "earlier": version, "days": days, "choices": DAYS}
    return desk.pages.page(request, "routing_edit.html", values)
