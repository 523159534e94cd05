"""Charts as inline SVG, made on the server: bars, lines, sparklines; no script, and no colour without a text.

Every chart is a `<figure>` with a caption, a summary for screen readers and, but for sparklines, its values as a table
that can be opened. Heights and widths are SVG attributes, because the Content-Security-Policy forbids inline styles.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from node.dashboard.i18n import translate as _
from node.dashboard.marks import number

WIDTH, HEIGHT = 360, 120
LEFT, BOTTOM, TOP = 44, 18, 8
SPARK_WIDTH, SPARK_HEIGHT = 90, 20

Value = float | int | None


def bars(title: str, labels: Sequence[str], values: Sequence[Value], unit: str = "") -> Markup:
    """One bar for each label; None leaves its place empty."""
    top = _ceiling(values)
    step = (WIDTH - LEFT) / max(len(values), 1)
    marks = Markup("").join(
        Markup(
            '<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {} {}</title></rect>'
        ).format(
            LEFT + index * step + step * 0.1,
            _y(value, top),
            step * 0.8,
            HEIGHT - BOTTOM - _y(value, top),
            label,
            number(value),
            unit,
        )
        for index, (label, value) in enumerate(zip(labels, values, strict=True))
        if value is not None
    )
    return _figure(title, labels, values, unit, marks, top)


def line(
    title: str,
    labels: Sequence[str],
    values: Sequence[Value],
    unit: str = "",
    positions: Sequence[float] | None = None,
) -> Markup:
    """Points joined by a line; None breaks it. `positions` (0 to 1) says where; None spaces evenly."""
    top = _ceiling(values)
    if positions is None:
        positions = [index / max(len(values) - 1, 1) for index in range(len(values))]
    places = [
        None if value is None else (LEFT + 4 + position * (WIDTH - LEFT - 10), _y(value, top))
        for position, value in zip(positions, values, strict=True)
    ]
    dots = Markup("").join(
        Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}: {} {}</title></circle>').format(
            *place, label, number(value), unit
        )
        for place, label, value in zip(places, labels, values, strict=True)
        if place is not None
    )
    return _figure(title, labels, values, unit, Markup('<path class="line" d="{}"/>').format(_path(places)) + dots, top)


def sparkline(title: str, values: Sequence[Value], unit: str = "") -> Markup:
    """A line the size of a word, with its last value as text for screen readers."""
    top = _ceiling(values)
    step = SPARK_WIDTH / max(len(values) - 1, 1)
    places = [
        None if value is None else (index * step, SPARK_HEIGHT - 2 - (SPARK_HEIGHT - 4) * value / top)
        for index, value in enumerate(values)
    ]
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}"><path class="line" d="{}"/></svg>'
    ).format(SPARK_WIDTH, SPARK_HEIGHT, _summary(title, values, unit), _path(places))


def _figure(title: str, labels: Sequence[str], values: Sequence[Value], unit: str, marks: Markup, top: float) -> Markup:
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td>{}</td></tr>").format(label, number(value))
        for label, value in zip(labels, values, strict=True)
    )
    axis = Markup(
        '<path class="axis" d="M{0} {1}H{2}M{0} {3}H{2}"/>'
        '<text x="{4}" y="{5}">{6}</text><text x="{4}" y="{1}">0</text>'
    ).format(LEFT, HEIGHT - BOTTOM, WIDTH, TOP, LEFT - 4, TOP + 8, number(_tidy(top)))
    ends = Markup('<text class="first" x="{}" y="{}">{}</text><text class="last" x="{}" y="{}">{}</text>').format(
        LEFT, HEIGHT - 3, labels[0] if labels else "", WIDTH, HEIGHT - 3, labels[-1] if labels else ""
    )
    return Markup(
        '<figure class="chart"><figcaption>{}{}</figcaption>'
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>'
        "<details><summary>{}</summary><table>{}</table></details></figure>"
    ).format(
        title,
        f" ({unit})" if unit else "",
        WIDTH,
        HEIGHT,
        _summary(title, values, unit),
        axis,
        marks,
        ends,
        _("values as a table"),
        rows,
    )


def _summary(title: str, values: Sequence[Value], unit: str) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return _("{title}: no values", title=title)
    return _(
        "{title}: last {last}, lowest {least}, highest {most} {unit}",
        title=title,
        last=number(there[-1]),
        least=number(min(there)),
        most=number(max(there)),
        unit=unit,
    )


def _path(places: Sequence[tuple[float, float] | None]) -> str:
    parts, pen = [], "M"
    for place in places:
        if place is None:
            pen = "M"
            continue
        parts.append(f"{pen}{place[0]:.1f} {place[1]:.1f}")
        pen = "L"
    return "".join(parts)


def _ceiling(values: Sequence[Value]) -> float:
    """A round number at or above every value; 1 where there is none."""
    most = max((value for value in values if value is not None), default=0)
    if most <= 0:
        return 1.0
    scale = 10.0 ** math.floor(math.log10(most))
    return next(factor * scale for factor in (1, 2, 5, 10) if factor * scale >= most * (1 - 1e-9))


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - BOTTOM - TOP) * (1 - max(value, 0) / top)


def _tidy(value: float) -> float | int:
    return int(value) if value == int(value) else value
