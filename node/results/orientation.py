"""Which side of a picture is the patient's left.

Letters of PatientOrientation (PS3.3 C.7.6.1.1.1): L, R, A, P, H, F, the direction in which rows and columns run.
For planar views the view's name decides (file headers carry the same detector orientation for both views too
often); for volumes the plane orientation does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.contract import SourceSeries

_VIEW_ORIENTATIONS = {"anterior": ("L", "F"), "posterior": ("R", "F")}
"""Seen from the front the patient's left is on the picture's right; seen from behind it is the other way round."""

_OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "H": "F", "F": "H"}
_AXES = (("L", "R"), ("P", "A"), ("H", "F"))
"""Letters for the positive and negative direction of x, y and z."""


def direction_letter(cosines: Sequence[float]) -> str:
    """Letter of the axis nearest to a direction, e.g. (1, 0, 0) -> "L"."""
    axis = int(np.argmax(np.abs(cosines)))
    return _AXES[axis][0] if cosines[axis] > 0 else _AXES[axis][1]


def opposite(letter: str) -> str:
    """The letter of the other direction."""
    return _OPPOSITE[letter]


def view_orientation(view_name: str) -> tuple[str, str] | None:
    """Directions of rows and columns of a planar view, or None for an unknown view."""
    return _VIEW_ORIENTATIONS.get(view_name)


def patient_orientation(source: SourceSeries) -> list[str]:
    """PatientOrientation that is true of every frame of a planar source; empty where the views differ."""
    known = {view_orientation(name) for name in source.view_names} if source.view_names else {None}
    if len(known) == 1:
        only = known.pop()
        if only is not None:
            return list(only)
    return []
