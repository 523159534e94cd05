"""Small things that templates show: states as tone and shape, times, sizes, durations.

A state is told by its word, a shape and a colour, never by colour alone.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from markupsafe import Markup

from node.dashboard.i18n import N_, translate

TONES = {
    "done": "good",
    "sent": "good",
    "verified": "good",
    "complete": "good",
    "healthy": "good",
    "enabled": "good",
    "running": "busy",
    "sending": "busy",
    "receiving": "busy",
    "info": "busy",
    "ready": "good",
    "lost": "bad",
    "fires": "good",
    "matches": "wait",
    "near miss": "wait",
    "does not match": "off",
    "queued": "wait",
    "waiting": "wait",
    "pending": "wait",
    "paused": "wait",
    "warning": "wait",
    "failed": "bad",
    "error": "bad",
    "unhealthy": "bad",
    "rejected": "off",
    "cancelled": "off",
    "superseded": "off",
    "dismissed": "off",
    "disabled": "off",
    "revoked": "off",
}
"""State -> tone; a state that is not here is told without a tone."""

STATE_NAMES = (
    *(N_("done"), N_("sent"), N_("verified"), N_("complete"), N_("healthy"), N_("enabled"), N_("running")),
    *(N_("sending"), N_("receiving"), N_("info"), N_("queued"), N_("waiting"), N_("pending"), N_("paused")),
    *(N_("warning"), N_("failed"), N_("error"), N_("unhealthy"), N_("rejected"), N_("cancelled"), N_("disabled")),
    *(N_("revoked"), N_("ready"), N_("lost"), N_("fires"), N_("matches"), N_("near miss"), N_("does not match")),
    *(N_("superseded"), N_("dismissed")),
)

SHAPES = {
    "good": "M3 8.5 6.5 12 13 4.5",  # a tick
    "busy": "M5 3 13 8 5 13Z",  # a triangle that points on
    "wait": "M8 2.5a5.5 5.5 0 1 0 .01 0ZM8 5v3.2l2.2 1.6",  # a clock
    "bad": "M3.5 3.5 12.5 12.5M12.5 3.5 3.5 12.5",  # a cross
    "off": "M2.5 8a5.5 5.5 0 1 0 11 0 5.5 5.5 0 1 0-11 0M4.1 4.1 11.9 11.9",  # a barred circle
}
"""Tone -> path in a square of 16."""

_UNITS = (
    (90, 1, N_("{count} s"), N_("{count} s ago")),
    (5400, 60, N_("{count} min"), N_("{count} min ago")),
    (129600, 3600, N_("{count} h"), N_("{count} h ago")),
    (float("inf"), 86400, N_("{count} d"), N_("{count} d ago")),
)


def shape(tone: str) -> Markup:
    """The shape of a tone as an inline picture that screen readers pass over."""
    path = SHAPES.get(tone)
    if path is None:
        return Markup("")
    return Markup(
        '<svg class="shape" viewBox="0 0 16 16" aria-hidden="true" focusable="false"><path d="{}"/></svg>'
    ).format(path)


def duration(seconds: float | None, ago: bool = False) -> str:
    """How long, in the largest unit that says enough."""
    if seconds is None:
        return ""
    seconds = max(seconds, 0.0)
    for limit, unit, plain, past in _UNITS:
        if seconds < limit:
            return translate(past if ago else plain, count=f"{seconds / unit:.0f}")
    raise AssertionError("the last unit has no limit")


def moment(at: datetime | None) -> str:
    """A time to the second, in UTC."""
    return at.strftime("%Y-%m-%d %H:%M:%S") if at else ""


def size(count: int | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def number(value: float | int | None) -> str:
    """An integer with thin spaces between the thousands; other numbers with four digits that count."""
    if value is None:
        return ""
    return f"{value:,}".replace(",", "\u202f") if isinstance(value, int) else f"{value:.4g}"


GLOBALS: dict[str, Any] = {"TONES": TONES, "shape": shape}
FILTERS: dict[str, Any] = {"duration": duration, "moment": moment, "size": size, "number": number}
