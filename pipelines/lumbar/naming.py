"""Names of the intervals of a spine, and the sentences that say how sure they are.

`Spine` + field of view -> `Naming`.

The rule is the reader's: count upward from the sacrum, the body above it is L5, unless the ribs say that there are four
or six lumbar vertebrae (`rib_count`). Where no ribs are in the field nobody can tell, so the rule is stated with every
result. Where there is no sacrum to count from, a name is a guess and is called one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipelines.lumbar.instances import Flag
from pipelines.lumbar.lumbosacral import CLEAR_DISC
from pipelines.lumbar.rib_count import USUAL, LumbarCount
from pipelines.lumbar.spine import Spine, depth_and_area

ROOM_FOR_SACRUM_MM = 45.0
"""If so much of the field of view lies below the lowest body, a sacrum would have shown."""

SHALLOW_DISC = 0.75
THIN_DISC = 0.5
"""Depth and height of the lowest disc, as shares of the discs above, below which it counts as rudimentary."""

COUNTED = (
    "Levels were counted upward from the sacrum (the vertebra above it is named L5); without the ribs in view, "
    "four or six lumbar vertebrae cannot be told from five."
)
RIBS_AGREE = (
    "Levels were counted upward from the sacrum (the vertebra above it is named L5); the ribs in view fit five lumbar "
    "vertebrae (probability {probability:.0f} %)."
)
RIBS_DIFFER = (
    "The ribs in view fit {number} lumbar vertebrae rather than five (probability {probability:.0f} %): the vertebra "
    "above the sacrum is named L{lumbar}. Check the count before an intervention."
)
NO_RIBS_AT_SIXTH = (
    "No ribs were seen at the sixth body above the sacrum: there may be six lumbar vertebrae, so every level name is "
    "uncertain."
)
COUNT_OPEN = (
    "What is seen of the ribs leaves open how many lumbar vertebrae there are (five with a probability of "
    "{probability:.0f} %), so every level name is uncertain."
)
_NUMBERS = {4: "four", 6: "six"}


def upward(lumbar: int = USUAL) -> tuple[str, ...]:
    """Return the vertebrae above the sacrum, from below."""
    return tuple(f"L{n}" for n in range(lumbar, 0, -1)) + tuple(f"T{n}" for n in range(12, 0, -1))


def levels_down(lumbar: int = USUAL) -> list[str]:
    """Return the levels between vertebrae from the top down: "T1/T2" ... "L4/L5", "L5/S1"."""
    chain = [*reversed(upward(lumbar)), "S1"]
    return [f"{upper}/{lower}" for upper, lower in pairwise(chain)]


@dataclass(frozen=True)
class Naming:
    """Names of the intervals, from the top down; `names[k]` is interval k, "S1" is what lies below the last vertebra.

    `above` is the vertebra above interval 0. `lumbar`, `numbering` and `flags` are as in `LevelMap`.
    """

    names: tuple[str, ...]
    above: str
    lumbar: int
    numbering: str
    flags: tuple[Flag, ...]

    def pair(self, interval: int) -> str:
        """Return the name of the level between an interval and the next; -1 is the level over the topmost."""
        upper = self.above if interval < 0 else self.names[interval]
        return f"{upper}/{self.names[interval + 1]}"

    def is_level(self, interval: int) -> bool:
        """Tell whether there is a level below an interval: within the sacrum there is none."""
        return interval < 0 or self.names[interval] != "S1"


def name_intervals(
    spine: Spine,
    occupied: list[int],
    rows: tuple[int, int],
    spacing_mm: tuple[float, float, float],
    counted: LumbarCount | None = None,
) -> Naming:
    """Name every interval of a spine.

    Parameters
    ----------
    spine
    occupied
        Intervals that hold a body, ascending.
    rows
        Rows of the volume that lie above the spine's own first row, and rows of the volume in all.
    spacing_mm
        (slice, row, column).
    counted
        What the ribs say; None where nobody looked. Without a sacrum they are of no use: their place is counted from
        it.
    """
    number = len(spine.boundaries) + 1
    flags: list[Flag] = []
    lumbar = USUAL
    if spine.has_sacrum:
        lowest, step = number - 2, 0
        lumbar, numbering, doubts = _from_ribs(counted)
        flags += doubts
    else:
        lowest, step, numbering = _guess(spine, occupied, rows, spacing_mm)
        flags.append(Flag("sacrum_not_visible", numbering))
    # Where the lowest body seen is not the last lumbar one the count goes on below it.
    names = tuple(_upward(up, lumbar) if (up := lowest - k + step) >= 0 else "S1" for k in range(number))
    above = _upward(lowest + 1 + step, lumbar)
    flags += _gaps(spine, occupied, names)
    if spine.has_sacrum:
        flags += _lumbosacral(spine, occupied, spacing_mm)
    if spine.rejected:
        bodies = "one body" if spine.rejected == 1 else f"{spine.rejected} bodies"
        flags.append(Flag("bodies_rejected", f"Off the chain of the spine {bodies} was removed."))
    return Naming(names, above, lumbar, numbering, tuple(flags))


def _from_ribs(counted: LumbarCount | None) -> tuple[int, str, list[Flag]]:
    """Return the number of lumbar vertebrae, the sentence that says how levels were named, and what is doubtful."""
    if counted is None or not counted.seen:
        return USUAL, COUNTED, _doubt_unseen(counted)
    probability = 100 * counted.probability
    if counted.usual:
        numbering = RIBS_AGREE.format(probability=probability)
        return USUAL, numbering, [Flag("lumbar_count", numbering)] if counted.doubtful else []
    numbering = RIBS_DIFFER.format(number=_NUMBERS[counted.lumbar], probability=probability, lumbar=counted.lumbar)
    return counted.lumbar, numbering, [Flag("lumbar_count", numbering)]


def _doubt_unseen(counted: LumbarCount | None) -> list[Flag]:
    """Return what is doubtful about five where no ribs were seen for certain."""
    if counted is None:
        return []
    if counted.lumbar > USUAL:
        # Ribs at none of six bodies that were looked at: a sixth lumbar one, or a twelfth rib that was not seen.
        return [Flag("lumbar_count", NO_RIBS_AT_SIXTH)]
    if counted.doubtful:
        return [Flag("lumbar_count", COUNT_OPEN.format(probability=100 * counted.probability))]
    return []


def _upward(steps: int, lumbar: int = USUAL) -> str:
    """Return the vertebra `steps` above the last lumbar one. Beyond T1 there is no spine a lumbar coil sees."""
    names = upward(lumbar)
    return names[min(max(steps, 0), len(names) - 1)]


def _guess(
    spine: Spine, occupied: list[int], rows: tuple[int, int], spacing_mm: tuple[float, float, float]
) -> tuple[int, int, str]:
    """Return the lowest lumbar interval, its steps above L5, and a sentence that says how it was named."""
    ends_mm = [_rows_mm(spine, k, spacing_mm) for k in occupied]
    discs = [k for k in set(spine.disc_boundary.tolist()) if spine.boundaries[k].evidence > CLEAR_DISC]
    lowest = max([*occupied[-1:], *discs], default=len(spine.boundaries) - 1)
    if ends_mm:
        room_mm = (rows[1] - rows[0]) * spacing_mm[1] - ends_mm[-1][1]
        if room_mm < ROOM_FOR_SACRUM_MM:
            centre_mm = rows[1] * spacing_mm[1] / 2 - rows[0] * spacing_mm[1]
            nearest = int(np.argmin([abs(np.mean(end) - centre_mm) for end in ends_mm]))
            step = max(0, 2 - (lowest - occupied[nearest]))
            return lowest, step, (
                "The sacrum lies outside the field of view: the vertebra nearest to the middle of the field was "
                f"taken for {_upward(lowest - occupied[nearest] + step)}, so every level is uncertain."
            )  # fmt: skip
    return lowest, 0, "No sacrum was found: the lowest vertebra was taken for L5, so every level is uncertain."


def _rows_mm(spine: Spine, interval: int, spacing_mm: tuple[float, float, float]) -> tuple[float, float]:
    rows = spine.bodies.index[spine.body_interval == interval, 1]
    return float(rows.min() * spacing_mm[1]), float(rows.max() * spacing_mm[1])


def _gaps(spine: Spine, occupied: list[int], names: tuple[str, ...]) -> list[Flag]:
    """Flags for vertebrae and discs that the chain needs and the map lacks."""
    flags = []
    last = len(spine.boundaries) - 1 if spine.has_sacrum else (occupied[-1] if occupied else -1)
    missing = [names[k] for k in range(occupied[0], last + 1) if k not in occupied] if occupied else []
    if missing:
        sentence = f"No vertebral body was found at {', '.join(missing)}; the levels above may be counted wrongly."
        flags.append(Flag("levels_uncertain", sentence))
    held = set(spine.disc_boundary.tolist())
    pairs = [
        f"{names[k]}/{names[k + 1]}"
        for k in range(len(spine.boundaries))
        if k in occupied and (k + 1 in occupied or names[k + 1] == "S1") and k not in held
    ]
    if pairs:
        flags.append(Flag("discs_missing", f"No disc was found at {', '.join(pairs)}."))
    return flags


def _lumbosacral(spine: Spine, occupied: list[int], spacing_mm: tuple[float, float, float]) -> list[Flag]:
    """Flags for what makes the last lumbar vertebra doubtful."""
    flags = []
    last = len(spine.boundaries) - 1
    if "sacrum_was_body" in spine.remarks:
        flags.append(Flag("body_reassigned", "Bone labelled as a vertebral body was taken for sacrum."))
    if "body_was_sacrum" in spine.remarks:
        flags.append(Flag("body_reassigned", "Bone labelled as sacrum above the lowest disc was taken for L5."))
    weak = spine.boundaries[-1].evidence < CLEAR_DISC and last not in spine.disc_boundary
    if weak or {"sacrum_was_body", "body_was_sacrum"} & spine.remarks or len(occupied) < 2:
        flags.append(Flag("levels_uncertain", "Where the sacrum begins is doubtful, and so is the count of levels."))
    signs = _transitional_signs(spine, last, spacing_mm)
    if signs:
        sentence = f"Possible lumbosacral transitional vertebra ({'; '.join(signs)}): the level names are uncertain."
        flags.append(Flag("transitional", sentence))
    return flags


def _transitional_signs(spine: Spine, last: int, spacing_mm: tuple[float, float, float]) -> list[str]:
    """Return signs of a transitional vertebra that masks can show (after O'Driscoll 1996: the lowest disc)."""
    signs = []
    if "remnant_disc" in spine.remarks:
        signs.append("a disc within the sacrum")
    if "narrow_last_body" in spine.remarks:
        signs.append("a last vertebra narrower than the one above it")
    shapes = {}
    for k in range(max(0, last - 3), last + 1):
        disc = spine.discs.select(spine.disc_boundary == k)
        if len(disc):
            depth, area = depth_and_area(disc, spacing_mm)
            shapes[k] = (depth, area / max(depth, 1.0))
    others = [shape for k, shape in shapes.items() if k != last]
    if last in shapes and len(others) >= 2:
        depth, thickness = np.array(shapes[last]) / np.median(others, axis=0)
        if depth < SHALLOW_DISC:
            signs.append("a lowest disc of small depth")
        if thickness < THIN_DISC:
            signs.append("a lowest disc less than half as high as those above")
    return signs
