"""One thing that raises must not hold up the others: it is left alone for a pause that doubles with every setback.

for series in due:                       what raised is not due before its pause is over
    with setbacks.guard(series.id, now): the error ends here, but for one of the database itself
        ...
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from node.logs import describe_exception

FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 600.0

FORGOTTEN_AFTER = timedelta(hours=1)
"""What has not been tried for so long after its pause is not due any more; somebody else did it."""

log = structlog.get_logger(__name__)

Told = Callable[[Exception], object]
"""Called at the first setback of a thing, after its own work was undone."""


@dataclass(frozen=True)
class _Setback:
    count: int
    until: datetime


class Setbacks:
    """What has raised lately; `what` names the kind of thing in the log."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._of: dict[Hashable, _Setback] = {}

    def __len__(self) -> int:
        return len(self._of)

    def is_due(self, thing: Hashable, now: datetime) -> bool:
        """False while it is left alone."""
        setback = self._of.get(thing)
        return setback is None or setback.until <= now

    @contextmanager
    def guard(self, thing: Hashable, now: datetime, first: Told | None = None) -> Iterator[None]:
        """Keep an error of the block inside.

        Raises
        ------
        sqlalchemy.exc.OperationalError, InterfaceError
            The database cannot be reached: that is nobody's fault in particular.
        """
        try:
            yield
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            count = self._of[thing].count + 1 if thing in self._of else 1
            self._of = {other: found for other, found in self._of.items() if now - found.until < FORGOTTEN_AFTER}
            pause_s = min(FIRST_PAUSE_S * 2.0 ** min(count - 1, 30), LONGEST_PAUSE_S)
            self._of[thing] = _Setback(count, now + timedelta(seconds=pause_s))
            log.error(f"{self._what}.setback", id=thing, next_in_s=pause_s, error=describe_exception(error))
            if first is not None and count == 1:
                first(error)
        else:
            self._of.pop(thing, None)
