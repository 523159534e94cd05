"""The first status page: read-only, server-rendered, works without JavaScript.

    registry --> node.registry.queries --> pages, JSON, Prometheus

It writes nothing and shows no patient's name or number, because it has no login yet: studies are told apart by the
end of their UID. Bound to loopback until configured otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates

from node import __version__
from node.dashboard.health import Health, examine
from node.dashboard.metrics import CONTENT_TYPE, exposition
from node.registry import queries
from node.registry.database import Registry
from node.settings import Configuration
from node.storage import LocalStorage

HERE = Path(__file__).parent
REFRESH_S = 3

Clock = Callable[[], datetime]


def create_app(configuration: Configuration, registry: Registry, clock: Clock = lambda: datetime.now(UTC)) -> FastAPI:
    """The application over one registry; `clock` gives aware UTC times."""
    app = FastAPI(title="osteon", version=__version__, docs_url=None, redoc_url=None)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    templates = Jinja2Templates(directory=HERE / "templates")
    templates.env.filters.update(ago=_ago, clock=_clock, size=_size)
    storage = LocalStorage(configuration.data_dir)

    def health() -> Health:
        return examine(configuration, registry, storage, clock())

    @app.get("/", response_class=HTMLResponse)
    def status_page(request: Request) -> Response:
        now = clock()
        with registry.reading() as session:
            overview = queries.overview(session, now)
        values = {"overview": overview, "health": health(), "now": now, "refresh_s": REFRESH_S, "version": __version__}
        return templates.TemplateResponse(request, "status.html", values)

    @app.get("/studies/{study_uid}", response_class=HTMLResponse)
    def study_page(request: Request, study_uid: str) -> Response:
        return templates.TemplateResponse(
            request, "study.html", {"study": _study(registry, study_uid), "now": clock(), "version": __version__}
        )

    @app.get("/jobs/{job_id}/picture.png")
    def picture(job_id: int) -> Response:
        with registry.reading() as session:
            key = queries.picture_key(session, job_id)
        if key is None or not storage.exists(key):
            raise HTTPException(404, "there is no picture of this job")
        with storage.local_path(key) as path:
            return Response(path.read_bytes(), media_type="image/png")

    @app.get("/api/overview")
    def overview_json() -> JSONResponse:
        with registry.reading() as session:
            return _json(asdict(queries.overview(session, clock())))

    @app.get("/api/studies/{study_uid}")
    def study_json(study_uid: str) -> JSONResponse:
        return _json(asdict(_study(registry, study_uid)))

    @app.get("/healthz")
    def healthz() -> JSONResponse:
        found = health()
        return JSONResponse(asdict(found), status_code=200 if found.ok else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        with registry.reading() as session:
            overview = queries.overview(session, clock())
        return PlainTextResponse(exposition(overview, storage.free_bytes()), media_type=CONTENT_TYPE)

    return app


def run_dashboard(configuration: Configuration) -> None:
    """Serve until SIGTERM."""
    from node.registry.migrate import upgrade

    registry = Registry(configuration.database_url)
    upgrade(registry)
    settings = configuration.settings.dashboard
    uvicorn.run(
        create_app(configuration, registry),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
    )


def _study(registry: Registry, study_uid: str) -> queries.StudyView:
    with registry.reading() as session:
        view = queries.study_view(session, study_uid)
    if view is None:
        raise HTTPException(404, "this node has no such study")
    return view


def _json(value: Any) -> JSONResponse:
    return JSONResponse(_plain(value))


def _plain(value: Any) -> Any:
    """Dates as ISO 8601 in UTC, tuples as lists."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _ago(then: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that says enough."""
    if then is None:
        return ""
    seconds = max((now - then).total_seconds(), 0.0)
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129600, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} d"


def _clock(then: datetime | None) -> str:
    return then.strftime("%Y-%m-%d %H:%M:%S") if then else ""


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
