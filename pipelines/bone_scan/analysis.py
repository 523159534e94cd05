"""The method itself: counts of one patient's views in, foci and sums for the index out.

each view -> prepared windows -> tiles -> network (tile labels, pixel classes); all views' labels -> is the patient
positive? -> gate -> blended probabilities -> class map on the source grid -> foci -> uptake sums of each window and of
the counts.

Numbers only: no DICOM object is read or written here, and no sentence composed (`findings` does that).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines.bone_scan.bstbi import UptakeSums, uptake_sums
from pipelines.bone_scan.lesions import BLADDER, METASTASIS, FociOfView, find_foci
from pipelines.bone_scan.levels import WINDOW_FACTORS, to_grey, window
from pipelines.bone_scan.prepare import PreparedView, prepare_view
from pipelines.bone_scan.tiles import Gate, blend, gate, is_positive, pelvic_tiles, split, tile_starts
from pipelines.contract.provenance import Stopwatch


class Network(Protocol):
    """What the analysis needs of an engine."""

    def judge(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(tile, window, 256, 256) -> probabilities of metastasis and bladder (tile, 2), and per pixel of background,
        metastasis and bladder (tile, 3, 256, 256)."""
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
    judged = []
    for view in views:
        tell(view.name)
        judged.append(_judge(view, network, watch, factors))
    positive = is_positive(np.concatenate([j.labels for j in judged]))
    return [_measure(j, positive, watch) for j in judged]


def _judge(view: View, network: Network, watch: Stopwatch, factors: tuple[float, ...]) -> _Judged:
    """Prepare a view and ask the network about its tiles."""
    counts = np.maximum(np.asarray(view.counts, dtype=np.float32), 0.0)
    with watch.stage("prepare"):
        prepared = view.prepared or prepare_view(counts, view.spacing_mm, factors)
        starts = tile_starts(prepared.windows.shape[1])
        tiles = split(prepared.windows, starts)
    with watch.stage("infer"):
        labels, classes = network.judge(tiles)
    return _Judged(view, counts, prepared, starts, labels, classes)


def _measure(judged: _Judged, positive: bool, watch: Stopwatch) -> ViewAnalysis:
    """Take foci and uptake sums from a judged view."""
    counts, prepared = judged.counts, judged.prepared
    with watch.stage("measure"):
        gates = gate(judged.labels, pelvic_tiles(judged.starts, prepared.frame), positive)
        working = _joined(judged.classes, judged.starts, gates, prepared.windows.shape[1])
        found = find_foci(prepared.grid.probabilities_to_source(working), counts, prepared, judged.view.name)
        lesions, bladder = found.classes == METASTASIS, found.classes == BLADDER
        # One mask per view serves all its windows: the burden's images then differ in what the window clips and in
        # nothing else, and the overlay shows the very pixels that were summed.
        greys = [to_grey(window(counts, upper)) for upper in prepared.upper_levels]
        window_sums = tuple(uptake_sums(grey, lesions, bladder) for grey in greys)
        count_sums = uptake_sums(counts, lesions, bladder)
    return ViewAnalysis(
        judged.view.name, counts, prepared, judged.starts, judged.labels, tuple(gates), found, window_sums, count_sums
    )


def _joined(classes: np.ndarray, starts: tuple[int, ...], gates: list[Gate], rows: int) -> np.ndarray:
    """Join the gated tiles' class probabilities, (3, rows, 256); metastases count where the gate lets them."""
    for tile, decision in zip(classes, gates, strict=True):
        if not decision.metastases:
            tile[0] += tile[METASTASIS]
            tile[METASTASIS] = 0.0
    return blend(classes, starts, [decision.segment for decision in gates], rows)
