"""Chores: small steps repeated for ever, none of which may stop the others.

A chore runs when it is due, again at once while it finds work, and after an error with a pause that doubles. The
loop is plain and single-threaded; what may take long gets a loop of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from node.logs import describe_exception

FIRST_ERROR_PAUSE_S, LONGEST_ERROR_PAUSE_S = 1.0, 60.0
"""After an error the step is left alone for this long, twice as long after the next, at most a minute."""

LONGEST_WAIT_S = 0.2
"""How long the loop sleeps at most: what arrives is seen within this time."""

log = structlog.get_logger(__name__)


def error_pause_s(errors_in_a_row: int) -> float:
    """Seconds to leave a chore alone after that many errors in a row (1, 2, ...)."""
    return float(min(FIRST_ERROR_PAUSE_S * 2.0 ** min(errors_in_a_row - 1, 30), LONGEST_ERROR_PAUSE_S))


@dataclass
class Chore:
    """One thing to do again and again.

    Attributes
    ----------
    step
        Does a bounded piece of work at the time given; what it returns is true if it found any.
    every_s
        Pause after a step that found nothing.
    at_once_if_busy
        Without it the pause comes after every step.
    """

    name: str
    step: Callable[[datetime], object]
    every_s: float
    at_once_if_busy: bool = True
    due_at: float = field(default=float("-inf"), repr=False)
    errors: int = field(default=0, repr=False)

    def run_if_due(self, monotonic: float, now: datetime) -> bool:
        """Run the step if its time has come; True if it worked and wants to go on at once."""
        if monotonic < self.due_at:
            return False
        try:
            done = self.step(now)
        except Exception as error:
            self.errors += 1
            pause_s = error_pause_s(self.errors)
            log.error("upkeep.step_failed", step=self.name, next_in_s=pause_s, error=describe_exception(error))
            self.due_at = monotonic + pause_s
            return False
        self.errors = 0
        busy = self.at_once_if_busy and bool(done)
        self.due_at = monotonic if busy else monotonic + self.every_s
        return busy


def run_chores(
    chores: Sequence[Chore],
    stop: threading.Event,
    clock: Callable[[], datetime],
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Run chores until `stop` is set; the one that is running ends first."""
    while not stop.is_set():
        busy = False
        for chore in chores:
            if stop.is_set():
                return
            busy |= chore.run_if_due(monotonic(), clock())
        if not busy:
            stop.wait(LONGEST_WAIT_S)
