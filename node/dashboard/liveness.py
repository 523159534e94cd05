"""Whether a worker is alive: by its heartbeat, and at once where its process ran on this host and is gone.

A worker writes its row every ten seconds (`node.jobs.heartbeat`); a killed one stops. On the worker's own host nobody
needs to wait for that: the process is there or not.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime, timedelta

import psutil

from node.registry.views import WorkerRow

SILENCE = timedelta(seconds=25)
"""Two heartbeats missed and some patience for a busy host: then the worker is taken for lost."""


def is_lost(
    worker: WorkerRow,
    now: datetime,
    host: str | None = None,
    process_exists: Callable[[int], bool] = psutil.pid_exists,
) -> bool:
    """True for a worker that is not coming back.

    Parameters
    ----------
    host
        The host to look for processes on; None for this one.
    """
    if now - worker.heartbeat_at > SILENCE:
        return True
    return worker.host == (host or socket.gethostname()) and not process_exists(worker.pid)
