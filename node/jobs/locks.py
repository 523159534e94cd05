"""One process at a time per data folder: a lock that the kernel gives back when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from node.errors import OsteonError

WAIT_S = 5.0
"""How long a predecessor that is just ending may take to let go."""


@contextmanager
def only_one(path: Path, what: str, wait_s: float = WAIT_S) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; it says which process holds it.

    Parameters
    ----------
    what
        The command, for the sentence that a second one is refused with.

    Raises
    ------
    OsteonError
        If another process still holds it after `wait_s` seconds.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with path.open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    holder = file.read(20).strip() or "unknown"
                    raise OsteonError(
                        f"another {what} (process {holder}) works on the data folder {path.parent}; stop it first, or "
                        "use another folder (--data)"
                    ) from error
                time.sleep(0.05)
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
