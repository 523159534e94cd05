"""The description of the API: OpenAPI for programs, a plain page for people."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from node.dashboard.security.access import AsViewer, AtDesk

router = APIRouter(prefix="/api", include_in_schema=False)

PROBLEM_SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence: what is wrong and the way out."},
    },
}


def _problem(what: str) -> dict[str, Any]:
    return {"description": what, "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}}}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: _problem("The cursor is damaged"),
    401: _problem("No login and no token"),
    403: _problem("The role does not allow it, or the CSRF token is missing"),
    404: _problem("There is no such thing"),
    409: _problem("Its state does not allow it"),
    422: _problem("The request is not valid"),
    503: _problem("Something the node needs does not answer; try again"),
}
"""Answers that every route of the API may give."""

PARAMETERS = {
    "cursor": "`older` or `newer` of another page; empty for the newest",
    "delivery_id": "Number of a delivery, from the job's answer",
    "job_id": "Number of a job",
    "jobs": "`analysed` or `not analysed`; empty for both",
    "limit": "Rows on a page",
    "modality": "Modality of the primary series, such as NM",
    "name": "Name, as the list gives it",
    "pipeline": "Name of a pipeline",
    "place": "`site` for the node's own folder of weights, `shipped` for those that came with it",
    "rule": "Name of the rule that asked for the job",
    "series_uid": "Series Instance UID",
    "since": "From this day on (YYYY-MM-DD, UTC); anything else is ignored",
    "source": "Calling AE title of the sender",
    "state": "Of jobs: waiting, queued, running, done, failed, rejected, cancelled; of series: receiving, complete",
    "study_uid": "Study Instance UID",
    "text": "Beginning of a study UID, an accession number or, who may see them, a patient's number or name",
    "until": "Up to and including this day (YYYY-MM-DD, UTC); anything else is ignored",
}
"""What the parameters of all requests mean, by name."""


@router.get("/openapi.json")
def openapi(request: Request, who: AsViewer) -> JSONResponse:
    return JSONResponse(describe_app(request.app))


@router.get("/docs")
def docs(request: Request, desk: AtDesk, who: AsViewer) -> Response:
    schema = describe_app(request.app)
    operations = [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return desk.pages.page(request, "api_docs.html", {"operations": operations, "title": schema["info"]["title"]})


def describe_app(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, with the two ways of proving who asks."""
    schema: dict[str, Any] = app.openapi()
    schema.setdefault("components", {})["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "osteon_session"},
    }
    for methods in schema["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                parameter.setdefault("description", PARAMETERS[parameter["name"]])
    schema["security"] = [{"token": []}, {"session": []}]
    return schema
