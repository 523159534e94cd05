"""One child process: started, watched, restarted with a back-off, ended.

A child is `starting` until its own sign of life shows, then `up`. One that ends is started again after a pause that
doubles with every early death and is forgotten after a steady while. The supervisor asks; nothing here waits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FIRST_RESTART_S, LONGEST_RESTART_S = 0.5, 30.0
"""Pause before a part is started again after its first early death; doubled for each more, up to half a minute."""

STEADY_S = 60.0
"""A part that was up for so long is not blamed for earlier deaths."""

LIFELINE = Path(__file__).with_name("lifeline.py")


def restart_pause_s(early_deaths: int) -> float:
    """Seconds before the next start after that many early deaths in a row (1, 2, ...)."""
    return float(min(FIRST_RESTART_S * 2.0 ** min(early_deaths - 1, 30), LONGEST_RESTART_S))


@dataclass(frozen=True)
class Part:
    """What to run and how to know that it runs.

    Attributes
    ----------
    command
        Made anew for every start, because a worker's name must not come back.
    is_ready
        Called with the process id until it is true.
    on_exit
        Called with its exit code once for every process that ended, before the next is started.
    stop_order
        Parts are ended in rising order; those of one number together.
    grace_s
        What it may take to end after SIGTERM.
    """

    name: str
    command: Callable[[], Sequence[str]]
    is_ready: Callable[[int], bool]
    on_exit: Callable[[int], None] = lambda _code: None
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_order: int = 1
    grace_s: float = 30.0
    capture_output: Callable[[subprocess.Popen[bytes]], None] | None = None


@dataclass
class Child:
    """A part and the process that plays it at the moment; times are seconds of a monotonic clock."""

    part: Part
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    early_deaths: int = 0
    ready: bool = False
    was_ever_ready: bool = False

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process else None

    def start(self, now: float) -> None:
        """Start the process; it dies with this one."""
        command = [sys.executable, "-I", "-S", str(LIFELINE), str(os.getpid()), *self.part.command()]
        captured = self.part.capture_output
        self.process = subprocess.Popen(
            command,
            env={**os.environ, **self.part.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if captured else None,
            stderr=subprocess.STDOUT if captured else None,
            start_new_session=True,  # Ctrl-C is the supervisor's alone, which ends the parts in their order
        )
        self.started_at, self.ready = now, False
        if captured:
            captured(self.process)

    def look_ready(self) -> bool:
        """True at the moment when the part first shows that it is up."""
        if self.ready or self.process is None or not self.part.is_ready(self.process.pid):
            return False
        self.ready = self.was_ever_ready = True
        return True

    def reap(self, now: float) -> int | None:
        """The exit code if the process has just ended (negative: the signal), with the next start planned."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.early_deaths = 1 if now - self.started_at >= STEADY_S else self.early_deaths + 1
        self.start_at = now + restart_pause_s(self.early_deaths)
        self.process, self.ready = None, False
        self.part.on_exit(code)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if there is a process."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
