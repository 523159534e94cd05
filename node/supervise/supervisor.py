"""`serve`: one process that starts all parts of the node, watches them and ends them in order.

    ports free? --> Redis up --> schema --> the other parts, all at once --> ready
    a part ends --> its work released --> started again (with back-off)
    SIGTERM, SIGINT --> listener drains --> workers end or give back, upkeep, dashboard --> Redis

The supervisor computes nothing, and everything it knows about the parts comes from their process ids, their ports and
the registry. Children write to the same standard error, so there is one stream of log lines.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType

import structlog

from node import __version__
from node.errors import ConfigurationError, OsteonError
from node.jobs.embedded_redis import redis_url
from node.jobs.locks import only_one
from node.logs import configure_logging
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.settings import Configuration
from node.supervise.child import Child, Part
from node.supervise.parts import Addresses, embedded_redis_part, node_name, node_parts, release_work
from node.supervise.ports import claim_port

LOOK_S = 0.1
"""How often the supervisor looks after its children."""

STARTING_TRIES = 3
"""A part that ends so often before it was ever up will not get up; `serve` then says so and ends."""

START_TIMEOUT_S = 120.0
"""For the whole node to be up; torch alone may take half a minute from a cold disk."""

EXIT_CONFIGURATION = 2  # what every verb ends with when its configuration is at fault

log = structlog.get_logger(__name__)


class Stopped(Exception):
    """A signal asked for the end while the node was still starting."""


class Supervisor:
    """Keeps a set of parts running.

    Parameters
    ----------
    stopping
        Set when the node is to end.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._children: list[Child] = []

    def start(self, parts: Sequence[Part]) -> None:
        """Start parts and wait until all of them are up.

        Raises
        ------
        ConfigurationError
            If a part says that its configuration is wrong.
        OsteonError
            If a part does not get up.
        Stopped
            If the node is to end.
        """
        new = [Child(part) for part in parts]
        self._children += new
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(child.ready for child in new):
            if self._stopping.is_set():
                raise Stopped
            self.look(time.monotonic())
            if time.monotonic() > deadline:
                late = ", ".join(child.part.name for child in new if not child.ready)
                raise OsteonError(f"not up after {START_TIMEOUT_S:.0f} s: {late}; their log lines above say why")
            self._stopping.wait(LOOK_S)

    def watch(self) -> None:
        """Keep every part running until the node is to end."""
        while not self._stopping.wait(LOOK_S):
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One look at every child: started where due, noticed where up, planned again where it has ended."""
        for child in self._children:
            code = child.reap(now)
            if code is not None:
                self._ended(child, code, now)
            if child.process is None and now >= child.start_at and not self._stopping.is_set():
                child.start(now)
                log.info("part.started", part=child.part.name, pid=child.pid)
            if child.look_ready():
                log.info("part.up", part=child.part.name, pid=child.pid, after_s=round(now - child.started_at, 1))

    def stop(self) -> None:
        """End all parts, in their order; what does not end in its time is killed."""
        for order in sorted({child.part.stop_order for child in self._children}):
            group = [child for child in self._children if child.part.stop_order == order and child.process]
            began = time.monotonic()
            for child in group:
                child.signal(signal.SIGTERM)
            while any(child.process for child in group):
                now = time.monotonic()
                for child in group:
                    code = child.reap(now)
                    if code is not None:
                        log.info("part.stopped", part=child.part.name, exit_code=code)
                    elif child.process and now - began > child.part.grace_s:
                        log.error("part.killed", part=child.part.name, grace_s=child.part.grace_s)
                        child.signal(signal.SIGKILL)
                time.sleep(LOOK_S / 2)

    def _ended(self, child: Child, code: int, now: float) -> None:
        pause_s = round(child.start_at - now, 1)
        log.error("part.died", part=child.part.name, exit_code=code, restart_in_s=pause_s)
        if child.was_ever_ready:
            return
        if code == EXIT_CONFIGURATION:
            raise ConfigurationError(
                [f"{child.part.name} cannot run with this configuration (its own words are above)"]
            )
        if child.early_deaths >= STARTING_TRIES:
            raise OsteonError(
                f"{child.part.name} ended {child.early_deaths} times without getting up; its log lines above say why"
            )


def serve(configuration: Configuration) -> int:
    """Run the whole node until SIGTERM or SIGINT; must be called in the main thread.

    Returns
    -------
    int
        Exit code: 0 after an orderly end.

    Raises
    ------
    ConfigurationError
        If a part cannot run with this configuration.
    OsteonError
        If a port is taken, another node works on the data folder, or a part does not get up.
    """
    configure_logging(configuration.settings.log, "serve")
    stopping = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        log.info("serve.stopping", signal=signal.Signals(number).name)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    with only_one(configuration.data_dir / "serve.lock", "osteon serve"):
        supervisor = Supervisor(stopping)
        registry = Registry(configuration.database_url)
        try:
            _start(supervisor, configuration, registry)
            supervisor.watch()
        except Stopped:
            pass
        finally:
            stopping.set()
            supervisor.stop()
            registry.dispose()
        log.info("serve.stopped")
    return 0


def _start(supervisor: Supervisor, configuration: Configuration, registry: Registry) -> None:
    began = time.monotonic()
    listen, dashboard = configuration.settings.listen, configuration.settings.dashboard
    addresses = Addresses(
        dicom_port=claim_port(listen.host, listen.port, "listen.port (OSTEON__LISTEN__PORT)"),
        dashboard_port=claim_port(dashboard.host, dashboard.port, "dashboard.port (OSTEON__DASHBOARD__PORT)"),
        redis_url=redis_url(configuration),
    )
    if not configuration.settings.queue.url:
        supervisor.start([embedded_redis_part(configuration)])
    upgrade(registry)
    node = node_name(configuration.data_dir)
    release_work(registry, f"{node}:")  # an earlier `serve` on this folder that was killed: its workers died with it
    supervisor.start(node_parts(configuration, registry, addresses, node))
    log.info(
        "ready",
        dicom=f"{listen.ae_title}@{listen.host}:{addresses.dicom_port}",
        dashboard=f"http://{dashboard.host}:{addresses.dashboard_port}/",
        data=str(configuration.data_dir),
        node=node,
        version=__version__,
        after_s=round(time.monotonic() - began, 1),
    )
