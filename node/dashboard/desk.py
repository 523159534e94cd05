"""What every page has at hand: registry, configuration, files, the clock, templates and live changes.

One `Desk` per application, at `app.state.desk`; pages take it as `desk: AtDesk` (node.dashboard.security.access).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from node.registry.database import Registry
from node.settings import Configuration
from node.settings.model import DashboardSettings
from node.storage import Storage

if TYPE_CHECKING:
    from node.dashboard.live import Live
    from node.dashboard.render import Renderer
    from node.dashboard.security.oidc import Provider

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Desk:
    """`clock` gives aware UTC times. oidc: the identity provider, None where the settings name none."""

    configuration: Configuration
    registry: Registry
    storage: Storage
    clock: Clock
    live: Live
    pages: Renderer
    oidc: Provider | None = None

    @property
    def settings(self) -> DashboardSettings:
        return self.configuration.settings.dashboard


def desk_of(request: HTTPConnection) -> Desk:
    """The desk of the application that serves this request."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk)
    return desk
