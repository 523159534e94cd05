"""What goes wrong, told in the form that was asked for: a page for people, problem details (RFC 9457) for programs."""

from __future__ import annotations

from http import HTTPStatus
from urllib.parse import quote, urlsplit

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from node.dashboard.desk import desk_of
from node.dashboard.i18n import Text, translate
from node.dashboard.render import local_path
from node.errors import OsteonError, RetriableError
from node.registry.paging import CursorError

PROBLEM = "application/problem+json"
STREAM = "/live"

log = structlog.get_logger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Have every error of a route end here."""

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 401 and not _for_program(request):
            return _to_login(request)
        text = error.detail if isinstance(error.detail, Text) else Text(str(error.detail or ""))
        return _tell(request, error.status_code, text, dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> Response:
        places = ", ".join(sorted({".".join(str(part) for part in item["loc"][1:]) for item in error.errors()}))
        text = Text("The request is not valid: look at {places}.", places=places or "its body")
        return _tell(request, 422, text)

    @app.exception_handler(OsteonError)
    async def _osteon(request: Request, error: OsteonError) -> Response:
        text = getattr(error, "text", None)
        status = 400 if isinstance(error, CursorError) else 503 if isinstance(error, RetriableError) else 409
        return _tell(request, status, text if isinstance(text, Text) else Text(str(error)))

    @app.exception_handler(Exception)
    async def _crash(request: Request, error: Exception) -> Response:
        log.error("dashboard.request_failed", method=request.method, route=_route(request), exc_info=error)
        return _tell(request, 500, Text("The dashboard failed at this request; its log says where."))


def _tell(request: Request, status: int, text: Text, headers: dict[str, str] | None = None) -> Response:
    title = HTTPStatus(status).phrase
    if _for_program(request):
        body = {"type": "about:blank", "title": title, "status": status, "detail": translate(text)}
        return JSONResponse(body, status, headers, media_type=PROBLEM)
    answer = desk_of(request).pages.page(
        request, "error.html", {"status": status, "title": title, "text": text}, status
    )
    answer.headers.update(headers or {})
    return answer


def _to_login(request: Request) -> Response:
    """To the login, and from there back to where the person was."""
    if "hx-request" in request.headers:
        shown = urlsplit(request.headers.get("hx-current-url", ""))
        return Response(status_code=401, headers={"HX-Redirect": _login(shown.path, shown.query)})
    if request.method in ("GET", "HEAD"):
        return RedirectResponse(_login(request.url.path, request.url.query), 303)
    return RedirectResponse("/login", 303)


def _login(path: str, query: str) -> str:
    where = local_path(f"{path}?{query}" if query else path)
    return "/login" if where == "/" else f"/login?next={quote(where, safe='')}"


def _for_program(request: Request) -> bool:
    path = request.url.path
    return path.startswith(("/api/", "/metrics", "/healthz")) or path == STREAM or "authorization" in request.headers


def _route(request: Request) -> str:
    """The route's pattern, not the address: addresses hold UIDs."""
    return str(getattr(request.scope.get("route"), "path", ""))
