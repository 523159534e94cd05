"""Whether the listener process that wrote something into the spool still lives.

A process holds a lock on `partial/<process>.alive` for as long as it lives; the kernel lets go of it however the
process ends. So the answer survives SIGKILL, reboots, reused process numbers and containers in which all are process 1.
An association's token begins with its process: `<process>-<number>`.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
from pathlib import Path

ALIVE_SUFFIX = ".alive"


class LivingProcess:
    """This process's mark. Tokens from `new_token` belong to it until `close` or the process's end."""

    def __init__(self, folder: Path) -> None:
        self.name = secrets.token_hex(6)
        self._path = folder / f"{self.name}{ALIVE_SUFFIX}"
        self._numbers = itertools.count(1)
        # Locked under another name first: nobody may find the mark unlocked while its process lives.
        unlocked = self._path.with_suffix(".new")
        self._handle = os.open(unlocked, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unlocked.rename(self._path)

    def new_token(self) -> str:
        """A token for one more association of this process."""
        return f"{self.name}-{next(self._numbers)}"

    def close(self) -> None:
        """The process will write nothing more."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def process_of(token: str) -> str:
    """The process that an association's token names."""
    return token.partition("-")[0]


def is_alive(folder: Path, process: str) -> bool:
    """True while that process lives."""
    try:
        handle = os.open(folder / f"{process}{ALIVE_SUFFIX}", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
