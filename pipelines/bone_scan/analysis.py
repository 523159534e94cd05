"""The method itself: counts of one patient's views in, foci and sums for the index out.

each view -> prepared windows, with those of the opposite view mirrored beside them -> network on the body's rows (tile
labels, pixel classes); all views' labels -> is the patient positive? -> gate -> class map on the source grid -> foci ->
uptake sums of each window and of the counts.

Numbers only: no DICOM object is read or written here, and no sentence composed (`findings` does that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines.bone_scan.bstbi import UptakeSums, uptake_sums
from pipelines.bone_scan.tiles import Gate, body_rows, covered_rows, gate, is_positive, pelvic_tiles, tile_starts
from pipelines.contract.provenance import Stopwatch
from pipelines.planar.lesions import BLADDER, METASTASIS, FociOfView, find_foci
from pipelines.planar.levels import WINDOW_FACTORS, to_grey, window
from pipelines.planar.prepare import PreparedView, facing, facing_columns, prepare_view


class Network(Protocol):
    """What the analysis needs of an engine."""

    def judge(self, view: np.ndarray, starts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(6, rows, 256) and each tile's first row -> probabilities of metastasis and bladder (tile, 2), and per
        pixel of background, metastasis and bladder (3, rows, 256)."""
        ...


@dataclass(frozen=True)
class View:
    """One view to analyse.

    counts : (rows, columns), more is hotter; negative values become 0. spacing_mm : row and column pitch, None where
    unknown. name : "anterior" or "posterior". prepared : what `prepare_view` made of these counts and this spacing
    with the same window factors; None to have it done.
    """

    counts: np.ndarray
    spacing_mm: tuple[float, float] | None
    name: str
    prepared: PreparedView | None = None


@dataclass(frozen=True)
class ViewAnalysis:
    """Everything computed of one view.

    Attributes
    ----------
    name
        "anterior" or "posterior".
    counts
        float32, (rows, columns), source grid, not negative.
    prepared
        The view on the working grid.
    starts, tile_probabilities, gates
        Per tile its first row, the network's answer (tile, 2), and what the gate made of it.
    probabilities
        Of background, metastasis and bladder, float32 (3, rows, 256) on the working grid: the network's answer, before
        the gate.
    found
        Class map and foci on the source grid.
    window_sums
        Uptake sums of each window's grey levels, in the order of the factors.
    count_sums
        Uptake sums of the counts, without any window.
    """

    name: str
    counts: np.ndarray
    prepared: PreparedView
    starts: tuple[int, ...]
    tile_probabilities: np.ndarray
    gates: tuple[Gate, ...]
    probabilities: np.ndarray
    found: FociOfView
    window_sums: tuple[UptakeSums, ...]
    count_sums: UptakeSums


@dataclass(frozen=True)
class _Judged:
    """A view with the network's answers, before the gate."""

    view: View
    counts: np.ndarray
    prepared: PreparedView
    starts: tuple[int, ...]
    labels: np.ndarray
    classes: np.ndarray


def analyse(
    views: Sequence[View],
    network: Network,
    watch: Stopwatch,
    factors: tuple[float, ...] = WINDOW_FACTORS,
    tell: Callable[[str], None] = lambda name: None,
) -> list[ViewAnalysis]:
    """Analyse all views of one patient.

    Parameters
    ----------
    views
        One or two.
    network
        Usually an `engine.Engine`.
    watch
        Stages are timed on it.
    factors
        Upper window levels as multiples of the reference level.
    tell
        Called with a view's name before it is worked on.
    """
    counts = [np.maximum(np.asarray(view.counts, dtype=np.float32), 0.0) for view in views]
    with watch.stage("prepare"):
        prepared = [
            view.prepared or prepare_view(values, view.spacing_mm, factors)
            for view, values in zip(views, counts, strict=True)
        ]
    judged = []
    for number, view in enumerate(views):
        tell(view.name)
        with watch.stage("infer"):
            starts, labels, classes = ask(network, prepared[number], opposite(prepared, number))
        judged.append(_Judged(view, counts[number], prepared[number], starts, labels, classes))
    positive = is_positive(np.concatenate([j.labels for j in judged]))
    return [_measure(j, positive, watch) for j in judged]


def opposite(views: Sequence[PreparedView], number: int) -> PreparedView | None:
    """Return the other one of two views, None where there is but one."""
    return views[1 - number] if len(views) == 2 else None


def seen_together(view: PreparedView, other: PreparedView | None) -> np.ndarray:
    """Return the network's input: the view's channels, then those that face them, float32 (6, rows, 256).

    The latter are 0 where there is no other view, or none of the same body in the same place.
    """
    own = view.channels
    k = None if other is None else facing_columns(view, other)
    facing_them = np.zeros_like(own) if other is None or k is None else facing(other.channels, k)
    return np.concatenate([own, facing_them])


def ask(
    network: Network, prepared: PreparedView, other: PreparedView | None = None
) -> tuple[tuple[int, ...], np.ndarray, np.ndarray]:
    """Ask the network about the rows of the body; `other` is the opposite view.

    Returns
    -------
    tuple
        First working row of each tile; their probabilities (tile, 2); class probabilities of the whole working grid,
        float32 (3, rows, 256), background with probability 1 where no body is.
    """
    first, end = body_rows(prepared.counts, prepared.mask)
    starts = tile_starts(end - first)
    labels, found = network.judge(seen_together(prepared, other)[:, first:end], starts)
    classes = np.zeros((found.shape[0], *prepared.windows.shape[1:]), np.float32)
    classes[0] = 1.0
    classes[:, first:end] = found
    return tuple(first + start for start in starts), labels, classes


def _measure(judged: _Judged, positive: bool, watch: Stopwatch) -> ViewAnalysis:
    """Take foci and uptake sums from a judged view."""
    counts, prepared = judged.counts, judged.prepared
    with watch.stage("measure"):
        gates = gate(judged.labels, pelvic_tiles(judged.starts, prepared.frame), positive)
        working = _gated(judged.classes, judged.starts, gates)
        found = find_foci(prepared.grid.probabilities_to_source(working), counts, prepared, judged.view.name)
        lesions, bladder = found.classes == METASTASIS, found.classes == BLADDER
        # One mask per view serves all its windows: the burden's images then differ in what the window clips and in
        # nothing else, and the overlay shows the very pixels that were summed.
        greys = [to_grey(window(counts, upper)) for upper in prepared.upper_levels]
        window_sums = tuple(uptake_sums(grey, lesions, bladder) for grey in greys)
        count_sums = uptake_sums(counts, lesions, bladder)
    return ViewAnalysis(
        judged.view.name, counts, prepared, judged.starts, judged.labels, tuple(gates), judged.classes, found,
        window_sums, count_sums,
    )  # fmt: skip


def _gated(classes: np.ndarray, starts: tuple[int, ...], gates: Sequence[Gate]) -> np.ndarray:
    """Let the class probabilities (3, rows, 256) count where the gate lets them."""
    rows = classes.shape[1]
    bladder = covered_rows(starts, [decision.segment for decision in gates], rows)
    metastases = covered_rows(starts, [decision.metastases for decision in gates], rows) & bladder
    gated = classes.copy()
    for label, allowed in ((METASTASIS, metastases), (BLADDER, bladder)):
        gated[0, ~allowed] += gated[label, ~allowed]
        gated[label, ~allowed] = 0.0
    return gated
