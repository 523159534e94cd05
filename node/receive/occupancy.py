"""How many associations are open, over all listener processes: one number per process in memory that they share."""

from __future__ import annotations

import mmap
import threading


class Occupancy:
    """Counts per process slot. Made before the fork; each process changes its own slot only.

    A process that was killed cannot count down, so its parent clears the slot. Reading all slots is not atomic: the
    limit may be missed by one association for a moment, which does no harm.
    """

    def __init__(self, slots: int) -> None:
        self._counts = memoryview(mmap.mmap(-1, slots * 4)).cast("I")
        self._lock = threading.Lock()

    def change(self, slot: int, by: int) -> None:
        """Add `by` to this process's count."""
        with self._lock:
            self._counts[slot] = max(self._counts[slot] + by, 0)

    def clear(self, slot: int) -> None:
        """The process of that slot is gone, and its associations with it."""
        self._counts[slot] = 0

    def total(self) -> int:
        """Open associations of all processes."""
        return sum(self._counts)

    def is_busier_than_another(self, slot: int) -> bool:
        """True if another process has fewer associations open than this one."""
        return min(self._counts) < self._counts[slot]
