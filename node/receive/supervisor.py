"""Several listener processes on one port, forked from one parent that does nothing but watch them.

    parent: opens the port, forks --> child: Listener.serve on the shared socket
            a child dies: its associations are marked as ended, another takes its place (with back-off)
            SIGTERM: children drain, then the parent returns
            the parent dies: the pipe that every child watches closes, the children drain and exit

The fork comes after all imports and before any thread, so that a replacement is there within milliseconds.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from node.receive.janitor import sweep_spool
from node.receive.listener import DRAIN_S, QUIET_S, Listener
from node.receive.occupancy import Occupancy
from node.receive.port import open_port
from node.receive.tls import server_context
from node.settings import Configuration
from node.storage.local import SpoolFolders

LOOK_S = 0.1
"""How often the parent looks after its children."""

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0
STEADY_S = 10.0
"""A process that lived so long is replaced at once; one that died earlier, after a delay that doubles each time."""

log = structlog.get_logger(__name__)


@dataclass
class Slot:
    """One place for a child: who holds it, since when, and how often in a row it died young."""

    number: int
    pid: int | None = None
    since: float = 0.0
    early_deaths: int = 0
    start_at: float = 0.0


def restart_delay(early_deaths: int) -> float:
    """Seconds until a process is replaced that has died young `early_deaths` times in a row."""
    return 0.0 if early_deaths == 0 else min(FIRST_DELAY_S * 2.0 ** (early_deaths - 1), LONGEST_DELAY_S)


class Supervisor:
    """The parent. `run` returns when `stop` has been asked for and all children are gone."""

    def __init__(self, configuration: Configuration, listening: socket.socket) -> None:
        self._configuration = configuration
        self._listening = listening
        self._spool = SpoolFolders.create(configuration.data_dir)
        count = configuration.settings.listen.processes
        self._slots = [Slot(number) for number in range(count)]
        self._occupancy = Occupancy(count)
        self._lifeline_read, self._lifeline_write = os.pipe()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Make `run` drain and return; for a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Keep every slot filled until stopped."""
        try:
            while not self._stopping.is_set():
                now = time.monotonic()
                for slot in self._slots:
                    if slot.pid is None and now >= slot.start_at:
                        self._fork(slot)
                self._reap()
                self._stopping.wait(LOOK_S)
        finally:
            self._listening.close()
            self._end_children()
            os.close(self._lifeline_write)
            os.close(self._lifeline_read)

    def _fork(self, slot: Slot) -> None:
        slot.since = time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:  # no memory, or too many processes: the others go on
            slot.early_deaths += 1
            slot.start_at = slot.since + restart_delay(slot.early_deaths)
            log.error("listener process not started", error=error.strerror)
            return
        if pid:
            slot.pid = pid
            return
        code = 1
        try:
            os.close(self._lifeline_write)
            self._serve(slot.number)
            code = 0
        except BaseException:
            log.exception("listener process failed")
        finally:
            os._exit(code)

    def _serve(self, number: int) -> None:
        """The child's whole life."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # Ctrl-C reaches the whole process group; the parent decides what becomes of it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        listener = Listener(self._configuration, self._listening, self._occupancy, number)
        signal.signal(signal.SIGTERM, lambda *_: listener.stop())
        listener.serve(self._lifeline_read)

    def _reap(self) -> None:
        for slot in self._slots:
            if slot.pid is None:
                continue
            pid, status = os.waitpid(slot.pid, os.WNOHANG)
            if pid == 0:
                continue
            now = time.monotonic()
            slot.early_deaths = 0 if now - slot.since >= STEADY_S else slot.early_deaths + 1
            slot.pid, slot.start_at = None, now + restart_delay(slot.early_deaths)
            self._occupancy.clear(slot.number)
            if not self._stopping.is_set():
                log.error(
                    "listener process died",
                    pid=pid,
                    exit_code=os.waitstatus_to_exitcode(status),
                    restart_in_s=round(slot.start_at - now, 1),
                )
            sweep_spool(self._spool, self._configuration.settings.spool.stale_partial_s, time.time())

    def _end_children(self) -> None:
        deadline = time.monotonic() + DRAIN_S + 2 * QUIET_S
        self._signal(signal.SIGTERM)
        while any(slot.pid for slot in self._slots) and time.monotonic() < deadline:
            time.sleep(LOOK_S / 2)
            self._reap()
        if any(slot.pid for slot in self._slots):
            log.error("listener processes did not drain in time and are killed")
            self._signal(signal.SIGKILL)
            while any(slot.pid for slot in self._slots):
                time.sleep(LOOK_S / 2)
                self._reap()

    def _signal(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid is not None:
                os.kill(slot.pid, number)


def run_listeners(configuration: Configuration, ready: Callable[[str, int], None] | None = None) -> None:
    """Listen with `listen.processes` processes until SIGTERM or SIGINT; must be called in the main thread.

    Parameters
    ----------
    ready
        Called with host and port once connections are taken; the port is the one chosen where `listen.port` is 0.

    Raises
    ------
    ConfigurationError
        If the port cannot be opened or the TLS files do not fit.
    """
    listen, spool = configuration.settings.listen, configuration.settings.spool
    folders = SpoolFolders.create(configuration.data_dir)
    if listen.tls is not None:
        server_context(listen.tls)  # a mistake in the files is told once, here, and not by every child
    sweep_spool(folders, spool.stale_partial_s, time.time())
    listening = open_port(listen.host, listen.port)
    supervisor = Supervisor(configuration, listening)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    host, port = listening.getsockname()[:2]
    log.info(
        "listening",
        host=host,
        port=port,
        ae_title=listen.ae_title,
        processes=listen.processes,
        tls=bool(listen.tls),
    )
    if ready is not None:
        ready(str(host), int(port))
    supervisor.run()
    log.info("listeners stopped")
