"""The log lines of one job, caught while its worker works on it, and kept with the job for whoever asks why.

    node's log stream --JobLog (a handler of the root logger, one attempt long)--> lines --> node.registry.job_logs

Lines leave with every renewal of the lease and at the end of the attempt, so that those of a killed worker are there
but for the last moments. They are the same lines that the log stream gets, without patient data (`node.logs`).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from node.logs import json_formatter

MOST_LINES = 200
"""Lines waiting to be kept; of more, the oldest go."""

MOST_CHARACTERS = 2000
"""Of one line."""


class JobLog(logging.Handler):
    """Catches what is logged while an attempt runs; emitting never touches the database."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self._taking = threading.Lock()
        self.setFormatter(json_formatter("infer"))

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        if len(line) <= MOST_CHARACTERS:
            with self._taking:
                self._lines.append(line)

    def take(self) -> list[str]:
        """The lines since the last call, oldest first."""
        with self._taking:
            lines = list(self._lines)
            self._lines.clear()
        return lines

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Catch every line that is logged in this process inside the block."""
        root = logging.getLogger()
        root.addHandler(self)
        try:
            yield
        finally:
            root.removeHandler(self)
