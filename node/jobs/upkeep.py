"""The upkeep process: the spool emptied, series completed, jobs made, lost work found, old files deleted.

    quick loop   ingest (inbox -> registry) --> assemble (complete? route, jobs, wake-ups) --> sweep
    slow loop    retention, leaked files of killed processes, results without an owner, files put aside long ago
                 (a thread: deleting may take minutes)

One per data folder, held by a lock, because the inbox is a journal with one reader. An error in one step is logged
and that step left alone for a while; the others go on. SIGTERM ends after the step that is running.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from datetime import datetime

import structlog

from node.jobs.app import Enqueuer, create_app
from node.jobs.chores import Chore, run_chores
from node.jobs.heartbeat import Heartbeat, utc_now
from node.jobs.locks import only_one
from node.jobs.sweep import Sweeper
from node.jobs.workspace import remove_stale_folders
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.workers import WorkerStatus
from node.settings import Configuration
from node.storage import LocalStorage, SpoolFolders

INGEST_EVERY_S = 0.2
ASSEMBLE_EVERY_S = 0.5
SWEEP_EVERY_S = 2.0
"""A job whose message was lost waits this long; each sweep is a handful of index look-ups."""

RETENTION_EVERY_S = 300.0
JANITOR_EVERY_S = 600.0
ORPHANS_EVERY_S = 6 * 3600.0
REFUSED_EVERY_S = 3600.0

UPKEEP = "upkeep"

log = structlog.get_logger(__name__)


def run_upkeep(configuration: Configuration) -> None:
    """Do the upkeep of a data folder until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        If the rules are wrong.
    OsteonError
        If another process does the upkeep of this folder.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with only_one(configuration.data_dir / "upkeep.lock", "osteon upkeep"):
        registry = Registry(configuration.database_url)
        upgrade(registry)
        quick, slow = _chores(configuration, registry)
        heartbeat = Heartbeat(Registry(configuration.database_url), _status())
        heartbeat.start()
        log.info("upkeep.started", data=str(configuration.data_dir))
        slow_loop = threading.Thread(target=run_chores, args=(slow, stop, utc_now), name="slow chores", daemon=True)
        slow_loop.start()
        try:
            run_chores(quick, stop, utc_now)
        finally:
            heartbeat.stop()
            registry.dispose()
        log.info("upkeep.stopped")


def _chores(configuration: Configuration, registry: Registry) -> tuple[list[Chore], list[Chore]]:
    from node.assemble.assembler import Assembler
    from node.assemble.ingest import Ingest
    from node.assemble.orphans import Orphans
    from node.assemble.refused import Refused
    from node.assemble.retention import Retention
    from node.receive.janitor import sweep_spool

    settings = configuration.settings
    storage = LocalStorage(configuration.data_dir)
    spool = SpoolFolders.create(configuration.data_dir)
    enqueuer = Enqueuer(create_app(configuration))
    ingest = Ingest(configuration, registry, storage)
    sweeper = Sweeper(settings, registry, enqueuer)
    retention = Retention(configuration, registry, storage)

    def wake(job_id: int, priority: int) -> None:
        enqueuer.job(job_id, priority)  # one that is not taken is found by the sweep

    assembler = Assembler(configuration, registry, storage, wake)

    def janitor(now: datetime) -> int:
        swept = sweep_spool(spool, settings.spool.stale_partial_s, now.timestamp())
        return swept + remove_stale_folders(configuration.data_dir)

    quick = [
        Chore("ingest", ingest.step, INGEST_EVERY_S),
        Chore("assemble", assembler.step, ASSEMBLE_EVERY_S),
        Chore("sweep", sweeper.step, SWEEP_EVERY_S, at_once_if_busy=False),
    ]
    slow = [
        Chore("retention", retention.step, RETENTION_EVERY_S),
        Chore("janitor", janitor, JANITOR_EVERY_S, at_once_if_busy=False),
        Chore("orphans", Orphans(registry, storage).step, ORPHANS_EVERY_S),
        Chore("refused", Refused(configuration, registry).step, REFUSED_EVERY_S, at_once_if_busy=False),
    ]
    return quick, slow


def _status() -> WorkerStatus:
    host, pid = socket.gethostname(), os.getpid()
    return WorkerStatus(f"{UPKEEP}@{host}:{pid}", UPKEEP, host, pid, "", utc_now(), 0, None)
