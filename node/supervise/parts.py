"""Which parts `osteon serve` runs, and how each one shows that it is ready.

    redis      the embedded one, unless queue.url names another
    upkeep     spool -> registry -> jobs
    listen     C-STORE
    infer      `worker.processes` workers, one job each
    deliver    one worker for deliveries and confirmations
    dashboard  pages, /healthz, /metrics

All but Redis are this program under another verb, with the same configuration and data folder; what `serve` found
out (ports, the Redis socket) goes down through the environment, where every setting can be given.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from node.jobs.app import DELIVER, INFER, UPKEEP
from node.jobs.embedded_redis import is_up, redis_command, redis_url, set_aside_journal
from node.jobs.heartbeat import GRACE_S, utc_now
from node.registry.database import Registry
from node.registry.deliveries import expire_delivery_holders
from node.registry.jobs import expire_holders
from node.registry.models import Worker
from node.registry.workers import forget_workers
from node.settings import Configuration
from node.supervise.child import Part
from node.supervise.ports import answers

LISTEN_GRACE_S = 40.0
"""Above what the listener itself gives to associations that are open."""

WORKER_GRACE_S = GRACE_S + 5.0
"""A worker gives its work back after GRACE_S by itself."""

HOST_LENGTH = 40  # of the host's name within a worker's, which has its limit

_REDIS_LINE = re.compile(r"^\d+:\w+ .*? ([.*#-]) (.*)$")  # "123:M 01 Jan 2026 10:00:00.000 * Ready to accept"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Addresses:
    """Where the node is reached: the ports that are really used."""

    dicom_port: int
    dashboard_port: int
    redis_url: str


def embedded_redis_part(configuration: Configuration) -> Part:
    """The embedded Redis; it is to be up before anything else starts."""
    url = redis_url(configuration)

    def on_exit(code: int) -> None:
        # One that gave up before it answered may have choked on its own journal, which only holds wake-ups.
        if code > 0 and not answered:
            for path in set_aside_journal(configuration.data_dir, utc_now()):
                log.warning("redis.journal_set_aside", path=str(path))

    answered: list[int] = []

    def is_ready(pid: int) -> bool:
        if is_up(url):
            answered.append(pid)
            return True
        return False

    def command() -> Sequence[str]:
        answered.clear()
        return redis_command(configuration.data_dir)

    return Part(
        name="redis",
        command=command,
        is_ready=is_ready,
        on_exit=on_exit,
        stop_order=3,
        grace_s=10.0,
        capture_output=_log_redis,
    )


def huge_pages() -> dict[str, str]:
    """Return what makes glibc (2.35 or newer; others ignore it) put large tensors on huge pages, unless the environment
    has tunables of its own: page faults cost a whole-body scan a tenth of its time on a CPU (docs/speed.md)."""
    return {} if "GLIBC_TUNABLES" in os.environ else {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def node_parts(configuration: Configuration, registry: Registry, addresses: Addresses, node: str) -> list[Part]:
    """Every part but Redis, in the order in which they are started; `node` is its `node_name`."""
    settings = configuration.settings
    environment = {
        "OSTEON_REDIS_URL": addresses.redis_url,
        "OSTEON__LISTEN__PORT": str(addresses.dicom_port),
        "OSTEON__DASHBOARD__PORT": str(addresses.dashboard_port),
    }

    def program(*words: str) -> list[str]:
        folders = ("--config", str(configuration.config_dir), "--data", str(configuration.data_dir))
        return [sys.executable, "-m", "node.cli.main", *words, *folders]

    def worker(label: str, queues: Sequence[str], extra: dict[str, str]) -> Part:
        names = WorkerNames(node, label)
        return Part(
            name=label,
            command=lambda: program("worker", *[w for q in queues for w in ("--queue", q)], "--name", names.next()),
            is_ready=_beats(registry),
            on_exit=lambda _code: release_work(registry, f"{names.current}/"),
            environment={**environment, **extra},
            stop_order=2,
            grace_s=WORKER_GRACE_S,
        )

    parts = [
        Part(UPKEEP, lambda: program("upkeep"), _beats(registry), environment=environment, stop_order=2),
        Part(
            "listen",
            lambda: program("listen"),
            lambda _pid: answers(settings.listen.host, addresses.dicom_port),
            environment=environment,
            stop_order=1,
            grace_s=LISTEN_GRACE_S,
        ),
    ]
    for index in range(settings.worker.processes):
        # "cuda" with several workers means one GPU for each; every other name is taken as it is.
        one_each = settings.worker.device == "cuda" and settings.worker.processes > 1
        device = {"OSTEON__WORKER__DEVICE": f"cuda:{index}"} if one_each else {}
        parts.append(worker(f"{INFER}-{index + 1}", [INFER], {**huge_pages(), **device}))
    parts.append(worker(DELIVER, [DELIVER, UPKEEP], {}))
    parts.append(
        Part(
            "dashboard",
            lambda: program("dashboard"),
            lambda _pid: answers(settings.dashboard.host, addresses.dashboard_port),
            environment=environment,
            stop_order=2,
        )
    )
    return parts


class WorkerNames:
    """Names for the successive processes of one part; none comes back, so a dead one's leases are surely its own."""

    def __init__(self, node: str, label: str) -> None:
        self._prefix = f"{node}:{label}:{os.getpid()}"
        self._count = 0

    @property
    def current(self) -> str:
        return f"{self._prefix}.{self._count}"

    def next(self) -> str:
        self._count += 1
        return self.current


def node_name(data_dir: Path) -> str:
    """What the names of this node's workers begin with: the host and a number that the data folder keeps."""
    file = data_dir / "node-id"
    if not file.exists():
        file.write_text(f"{secrets.token_hex(4)}\n")
    return f"{socket.gethostname()[:HOST_LENGTH]}-{file.read_text().strip()[:8]}"


def release_work(registry: Registry, prefix: str) -> None:
    """End the leases of workers whose processes have ended: their work goes on at the next sweep, not after the lease.

    `prefix` is a worker's name and "/", or a node's name and ":".
    """
    now = utc_now()
    try:
        with registry.transaction() as session:
            jobs = expire_holders(session, prefix, now)
            deliveries = expire_delivery_holders(session, prefix, now)
            forget_workers(session, prefix.removesuffix("/"))
    except SQLAlchemyError as error:
        log.warning("serve.release_failed", of=prefix, error=type(error).__name__)
        return
    if jobs or deliveries:
        log.warning("serve.work_released", of=prefix, jobs=jobs, deliveries=deliveries)


def _beats(registry: Registry) -> Callable[[int], bool]:
    def has_row(pid: int) -> bool:
        try:
            with registry.reading() as session:
                row = select(Worker.name).where(Worker.pid == pid, Worker.host == socket.gethostname())
                return session.scalar(row) is not None
        except SQLAlchemyError:
            return False

    return has_row


def _log_redis(process: subprocess.Popen[bytes]) -> None:
    """Turn Redis's own lines into events of the one log stream."""

    def pump() -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            for raw in stream:
                found = _REDIS_LINE.match(raw.decode(errors="replace").strip())
                if found:
                    log.log(20 if found[1] == "#" else 10, "redis.says", text=found[2])

    threading.Thread(target=pump, name="redis log", daemon=True).start()
