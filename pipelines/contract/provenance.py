"""Who computed a result, with what and how long it took: the same for every pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines.contract.weights import ModelCard


@dataclass(frozen=True)
class Provenance:
    """Who computed, with what: goes into the findings unchanged."""

    pipeline: str
    version: str
    cards: tuple[ModelCard, ...]
    device: str
    precision: str
    seconds: dict[str, float]


class Stopwatch:
    """Adds up the seconds of named stages."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of a `with` statement."""
        start = self._clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._clock() - start
