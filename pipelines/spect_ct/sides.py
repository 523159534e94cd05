"""On which side of the patient a place lies, told by the body's outline; no side where the outline tells none.

body (slice, row, column) -> the parts of a slice -> `Trunk`: one large part, wide, not cut off, that mirrors onto
itself about some column -> the place's distance from that column. Or two large parts side by side, and mostly such
pairs and no trunk from there to the feet: `Legs`, and the leg tells the side. All else (one limb, a neck beside an arm,
half a body) tells no side: a lesion without a side makes a reader look, a wrong one may be believed.

The column about which the outline mirrors best, not its middle: an arm that touches the trunk on one side moves the
middle by half its width and this column hardly. Where it does not mirror well, such an arm is taken off first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

MIDLINE_MM = 15.0
"""A place nearer to the middle of the trunk than this is on neither side."""

LARGE_SHARE, PAIR_SHARE = 0.25, 0.5
"""Parts of a slice count from this share of the largest; two are a pair from that share."""

LEAST_WIDTH_MM, LEAST_ASPECT = 220.0, 1.1
"""A thigh is narrower, or as deep as wide."""

LEAST_SYMMETRY = 0.95
"""Share of the outline's area that its mirror image covers, column by column. Trunks of simulated patients have 0.98
and more, one with an arm that touches it 0.79 to 0.93, and then the middle may be off by 40 mm."""

ARM_MM = 100.0
"""What is thinner is taken off an outline that does not mirror onto itself, and it is asked again."""

CUT_OFF = 0.6
"""Depth of the outermost column, as a share of the deepest one's, from which the field has cut a body off."""

FILLS_FIELD = 0.88
"""Share of the field of view from which a body's width may be the field's: a round one cuts it off without a straight
edge, and the outline still mirrors onto itself, about a column that is not the body's."""

PAIRED_SLICES = 2 / 3
UNTOLD = "side undetermined"


@dataclass(frozen=True)
class Trunk:
    """A slice of a trunk: the label of its part, the column of its middle, its first and last column."""

    label: int
    middle: float
    first: int
    last: int


@dataclass(frozen=True)
class Legs:
    """A slice of two limbs: the labels of the patient's right one and the left one."""

    right: int
    left: int


@dataclass(frozen=True)
class Outline:
    """The parts of a slice, numbered (row, column), and what they are; None where that is untold."""

    parts: np.ndarray
    kind: Trunk | Legs | None


@dataclass(frozen=True)
class Side:
    """side : "left", "right" or "" (midline or untold). words : the same for a reader. rows : of the part's extent."""

    side: str
    words: str
    rows: tuple[int, int]


class Sides:
    """Places in one body, bool (slice, row, column): slices to the head, columns to the patient's left.

    spacing_mm : of the body's voxels (slice, row, column). field_mm : width of the field of view, 0 if unknown.
    """

    def __init__(self, body: np.ndarray, spacing_mm: tuple[float, float, float], field_mm: float = 0.0) -> None:
        self.body, self.spacing_mm, self.field_mm = body, spacing_mm, field_mm
        self._outlines: dict[int, Outline] = {}

    def of(self, index: np.ndarray) -> Side | None:
        """Return the side of a place (fractional voxel index); None where its slice shows no body."""
        number, row, column = np.clip(np.rint(index), 0, np.array(self.body.shape) - 1).astype(int).tolist()
        outline = self._outline(number)
        if not outline.parts.any():
            return None
        nearest = ndimage.distance_transform_edt(outline.parts == 0, return_distances=False, return_indices=True)
        own = int(outline.parts[tuple(nearest[:, row, column])])
        rows = np.flatnonzero((outline.parts == own).any(1))
        side, words, kind = "", UNTOLD, outline.kind
        if isinstance(kind, Trunk):
            side, words = self._in_trunk(outline, kind, own, float(index[2]))
        elif isinstance(kind, Legs) and own in (kind.right, kind.left) and self._legs_below(number):
            side = "left" if own == kind.left else "right"
            words = f"{side}, in the {side} one of two limbs"
        return Side(side, words, (int(rows[0]), int(rows[-1])))

    def _in_trunk(self, outline: Outline, trunk: Trunk, own: int, column: float) -> tuple[str, str]:
        if own != trunk.label:
            # An arm beside the trunk is that side's; one that lies on it may be either.
            columns = np.flatnonzero((outline.parts == own).any(0))
            if columns[0] <= trunk.last and columns[-1] >= trunk.first:
                return "", UNTOLD
        aside_mm = (column - trunk.middle) * self.spacing_mm[2]
        if abs(aside_mm) < MIDLINE_MM:
            return "", "in the midline"
        side = "left" if aside_mm > 0 else "right"
        return side, f"{side}, {abs(aside_mm):.0f} mm from the middle of the body"

    def _legs_below(self, number: int) -> bool:
        """Tell whether a pair of parts is one of legs: from there to the feet are pairs, and no trunk."""
        kinds = [self._outline(n).kind for n in range(number + 1) if self.body[n].any()]
        pairs = sum(isinstance(kind, Legs) for kind in kinds)
        return not any(isinstance(kind, Trunk) for kind in kinds) and pairs >= PAIRED_SLICES * len(kinds)

    def _outline(self, number: int) -> Outline:
        if number not in self._outlines:
            self._outlines[number] = outline_of_slice(self.body[number], self.spacing_mm[1:], self.field_mm)
        return self._outlines[number]


def outline_of_slice(plane: np.ndarray, spacing_mm: tuple[float, float], field_mm: float = 0.0) -> Outline:
    """Return the parts of one slice of the body, bool (row, column), and what they are; `field_mm` as `Sides`."""
    parts, _ = ndimage.label(ndimage.binary_fill_holes(plane))
    sizes = np.bincount(parts.reshape(-1))
    sizes[0] = 0
    large = np.flatnonzero(sizes >= max(1.0, LARGE_SHARE * sizes.max()))
    kind: Trunk | Legs | None = None
    if len(large) == 1:
        kind = _trunk(parts == large[0], int(large[0]), spacing_mm, field_mm)
    elif len(large) == 2 and sizes[large].min() >= PAIR_SHARE * sizes.max():
        right, left = sorted(large.tolist(), key=lambda label: float(np.argwhere(parts == label)[:, 1].mean()))
        if np.flatnonzero((parts == right).any(0))[-1] < np.flatnonzero((parts == left).any(0))[0]:
            kind = Legs(right, left)
    return Outline(parts, kind)


def mirror_column(depths: np.ndarray) -> tuple[float, float]:
    """Return the column about which a profile of depths mirrors best, and the share of it that then lies on itself."""
    size = len(depths)
    shared = np.zeros(2 * size - 1)
    for twice in range(2 * size - 1):  # the axis lies on a column or half-way between two
        held = depths[max(0, twice - size + 1) : twice + 1]
        shared[twice] = np.minimum(held, held[::-1]).sum()
    return float(np.flatnonzero(shared == shared.max()).mean()) / 2, float(shared.max() / depths.sum())


def _trunk(part: np.ndarray, label: int, spacing_mm: tuple[float, float], field_mm: float) -> Trunk | None:
    """Return a trunk's place; None if the part is none, or cut off, or mirrors onto itself neither with its arms nor
    without."""
    depths = part.sum(0)
    ends = np.flatnonzero(depths)[[0, -1]]
    if depths[ends].max() > CUT_OFF * depths.max():
        return None
    if field_mm and (ends[1] - ends[0] + 1) * spacing_mm[1] > FILLS_FIELD * field_mm:
        return None
    for held in (part, _without_arms(part, spacing_mm)):
        rows, columns = np.flatnonzero(held.any(1)), np.flatnonzero(held.any(0))
        if not columns.size:
            return None
        first, last = int(columns[0]), int(columns[-1])
        height_mm, width_mm = (rows[-1] - rows[0] + 1) * spacing_mm[0], (last - first + 1) * spacing_mm[1]
        if width_mm < max(LEAST_WIDTH_MM, LEAST_ASPECT * height_mm):
            return None
        middle, symmetry = mirror_column(held[:, first : last + 1].sum(0))
        if symmetry >= LEAST_SYMMETRY:
            return Trunk(label, first + middle, first, last)
    return None


def _without_arms(part: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    sides = [max(1, round(ARM_MM / mm)) for mm in spacing_mm]
    parts, _ = ndimage.label(ndimage.binary_opening(part, np.ones(sides, bool)))
    sizes = np.bincount(parts.reshape(-1))[1:]
    return np.asarray(parts == sizes.argmax() + 1) if sizes.size else np.zeros_like(part)
