"""Figures of repeated measurements, the same shape in every bench."""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Median, fastest and slowest, in seconds."""
    return {
        "median_s": round(statistics.median(seconds), 4),
        "fastest_s": round(min(seconds), 4),
        "slowest_s": round(max(seconds), 4),
    }


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Time several ways of doing one thing in turns, so that a noisy minute hurts all of them; one warm-up each."""
    for way in ways.values():
        way()
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - start)
    return {name: spread(values) for name, values in taken.items()}


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {"cores": os.cpu_count(), "processor": platform.machine(), "system": platform.system()}


def reset_peak_memory() -> None:
    """Let the process's largest resident size begin anew (Linux; nothing elsewhere)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib() -> int | None:
    """The process's largest resident size since `reset_peak_memory`, or None where Linux does not tell it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return None


def as_text(title: str, rows: dict[str, dict[str, float]], notes: Sequence[str] = ()) -> str:
    """A table for the terminal."""
    width = max(len(name) for name in rows)
    lines = [title]
    for name, row in rows.items():
        lines.append(
            f"  {name:<{width}}  {row['median_s']:8.3f} s   ({row['fastest_s']:.3f} to {row['slowest_s']:.3f})"
        )
    return "\n".join([*lines, *(f"  {note}" for note in notes)])
