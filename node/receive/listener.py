"""One listener process: the port's waiting room, the associations that come out of it, and an orderly end.

    SIGTERM -> no new connections -> associations finish (a quiet one is aborted) -> the rest is aborted -> return

An association that is aborted loses nothing: what was acknowledged is durable, and the sender repeats the rest.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import structlog

from node.receive.admission import AdmissionRules
from node.receive.association import House, InboundAssociation, make_ae
from node.receive.liveness import LivingProcess
from node.receive.occupancy import Occupancy
from node.receive.reception import SpoolRules
from node.receive.tls import server_context
from node.receive.waiting_room import WaitingRoom
from node.settings import Configuration
from node.storage.local import SpoolFolders

DRAIN_S = 20.0
"""Longest wait for running associations after SIGTERM; Kubernetes kills after 30 s, systemd after 90 s by default."""

QUIET_S = 2.0
"""While draining, an association that has said nothing for so long, between two messages, is aborted."""

REJECTION_HEADROOM = 32
"""Connections beyond `listen.max_associations` that are still taken, to be told so (A-ASSOCIATE-RJ)."""

log = structlog.get_logger(__name__)


class Listener:
    """Serves a listening socket until it is stopped.

    Parameters
    ----------
    configuration
        `listen` and `spool` of it are used.
    listening
        A bound and listening socket; closed in the end.
    occupancy, slot
        The count of open associations over all processes, and which of its slots is ours.
    spool_rules
        For tests; None is what the configuration says.
    """

    def __init__(
        self,
        configuration: Configuration,
        listening: socket.socket,
        occupancy: Occupancy,
        slot: int = 0,
        spool_rules: SpoolRules | None = None,
    ) -> None:
        listen, spool = configuration.settings.listen, configuration.settings.spool
        self._occupancy = occupancy
        self._slot = slot
        self._open: set[InboundAssociation] = set()
        self._changed = threading.Condition()
        folders = SpoolFolders.create(configuration.data_dir)
        self._process = LivingProcess(folders.partial)
        self._house = House(
            ae=make_ae(listen),
            rules=AdmissionRules(
                listen.ae_title, listen.require_called_aet, listen.allow_calling_aets, listen.max_associations
            ),
            spool=folders,
            spool_rules=spool_rules or SpoolRules(spool.min_free_bytes, spool.fsync),
            new_token=self._process.new_token,
            open_associations=occupancy.total,
        )
        limit = listen.max_associations + REJECTION_HEADROOM
        self._waiting_room = WaitingRoom(
            listening,
            server_context(listen.tls) if listen.tls else None,
            listen.acse_timeout_s,
            self._begin,
            has_room=lambda: occupancy.total() < limit,
            gives_way=lambda: occupancy.is_busier_than_another(slot),
        )

    def serve(self, lifeline: int | None = None) -> None:
        """Serve until `stop`, or until `lifeline` becomes readable; returns when all associations are over."""
        try:
            self._waiting_room.serve(lifeline)
            self._drain()
        finally:
            self._process.close()

    def stop(self) -> None:
        """Make `serve` drain and return; from any thread or a signal handler."""
        self._waiting_room.stop()

    def _begin(self, connection: socket.socket, peer: tuple[str, int], first_bytes: bytes) -> None:
        try:
            association = InboundAssociation(self._house, connection, peer, first_bytes, self._ended)
        except OSError as error:
            log.warning("connection gone before its association", peer=peer[0], error=str(error))
            connection.close()
            return
        self._occupancy.change(self._slot, +1)
        with self._changed:
            self._open.add(association)
        try:
            association.start()
        except RuntimeError as error:  # out of threads; the others go on, and this peer may come again
            log.error("association not begun", peer=peer[0], error=str(error))
            association.never_begun()
            self._ended(association)

    def _ended(self, association: InboundAssociation) -> None:
        self._occupancy.change(self._slot, -1)
        with self._changed:
            self._open.discard(association)
            self._changed.notify_all()

    def _drain(self) -> None:
        deadline = time.monotonic() + DRAIN_S
        with self._changed:
            if self._open:
                log.info("draining", associations=len(self._open), at_most_s=DRAIN_S)
        self._wait_for_associations(deadline, lambda association: association.quiet_s >= QUIET_S)
        self._wait_for_associations(time.monotonic() + QUIET_S, lambda association: True)

    def _wait_for_associations(self, deadline: float, aborts: Callable[[InboundAssociation], bool]) -> None:
        while time.monotonic() < deadline:
            with self._changed:
                if not self._open:
                    return
                for association in self._open:
                    if aborts(association):
                        association.abort(block=False)
                self._changed.wait(0.1)
