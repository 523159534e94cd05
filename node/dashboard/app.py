"""The dashboard's wiring: routes, guards, errors, and the server that runs them.

    browser, program --> Shield (headers, language) --> guard of the route --> page or API --> registry

What a page looks like is told in `node.dashboard`'s own docstring. Bound to loopback until configured otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles

from node import __version__
from node.dashboard.api import ROUTERS as API_ROUTERS
from node.dashboard.desk import Clock, Desk
from node.dashboard.live import Live
from node.dashboard.pages import ROUTERS as PAGE_ROUTERS
from node.dashboard.problems import add_error_handlers
from node.dashboard.render import Renderer
from node.dashboard.security.access import check_guards, routes_of
from node.dashboard.security.headers import Shield
from node.dashboard.security.oidc import Provider
from node.registry import accounts, credentials
from node.registry.database import Registry
from node.settings import Configuration
from node.storage import LocalStorage

STATIC = Path(__file__).with_name("static")
MAX_BODY_BYTES = 2_000_000
"""Of any request but an upload: the rules' text, in the widest characters and as a form writes them. A body is read
before anybody is asked who he is."""

CLOSE_GRACE_S = 5
"""How long open requests may take to end once the dashboard is told to stop."""

log = structlog.get_logger(__name__)


def create_app(configuration: Configuration, registry: Registry, clock: Clock = lambda: datetime.now(UTC)) -> FastAPI:
    """The application over one migrated registry; `clock` gives aware UTC times."""
    settings = configuration.settings.dashboard
    pages = Renderer(clock, settings.trusted_proxies, settings.public_url)
    live = Live(registry, settings.live_poll_s)

    @contextlib.asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        poller = asyncio.create_task(live.run())
        yield
        live.close()
        await poller

    app = FastAPI(
        title="osteon",
        version=__version__,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=life,
        max_body_size=MAX_BODY_BYTES,
    )
    app.state.desk = Desk(
        configuration=configuration,
        registry=registry,
        storage=LocalStorage(configuration.data_dir),
        clock=clock,
        live=live,
        pages=pages,
        oidc=Provider(settings.oidc, settings.public_url) if settings.oidc else None,
    )
    app.add_middleware(
        Shield, trusted=settings.trusted_proxies, public_url=settings.public_url, language=settings.language
    )
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for router in (*PAGE_ROUTERS, *API_ROUTERS):
        app.include_router(router)
    add_error_handlers(app)
    check_guards(app)
    pages.paths = frozenset(route.path for route in routes_of(app) if isinstance(route, APIRoute))
    return app


class _Server(uvicorn.Server):
    """Ends the live streams when the process is told to stop; uvicorn would wait for them."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        app = self.config.app
        assert isinstance(app, FastAPI)
        app.state.desk.live.close()
        super().handle_exit(sig, frame)


def run_dashboard(configuration: Configuration) -> None:
    """Serve until SIGTERM."""
    from node.registry.migrate import upgrade

    registry = Registry(configuration.database_url)
    upgrade(registry)
    settings = configuration.settings.dashboard
    announce_first_start(registry, settings.public_url or f"http://{settings.host}:{settings.port}")
    config = uvicorn.Config(
        create_app(configuration, registry),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # forwarding headers are judged by node.dashboard.security.addresses
        timeout_graceful_shutdown=CLOSE_GRACE_S,
    )
    _Server(config).run()


def announce_first_start(registry: Registry, address: str) -> None:
    """While there is no account, print a new one-time code that lets its reader make the admin's."""
    with registry.transaction() as session:
        if accounts.any_user(session):
            return
        code = credentials.new_setup_code(session, datetime.now(UTC))
    log.warning(
        "dashboard.no_account_yet",
        set_up_at=f"{address}/setup",
        set_up_code=code,
        or_run="osteon users add NAME --role admin",
    )
