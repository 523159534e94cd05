"""The method itself, one view at a time: counts in, foci and sums for the index out.

view -> prepared windows -> tiles -> network (tile labels, pixel classes) -> gate -> blended probabilities -> class map
on the source grid -> foci -> uptake sums of each window and of the counts.

Numbers only: no DICOM object is read or written here, and no sentence composed (`findings` does that).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines.bone_scan.bstbi import UptakeSums, uptake_sums
from pipelines.bone_scan.lesions import BLADDER, METASTASIS, FociOfView, find_foci
from pipelines.bone_scan.levels import WINDOW_FACTORS, to_grey, window
from pipelines.bone_scan.prepare import PreparedView, prepare_view
from pipelines.bone_scan.tiles import Gate, blend, gate, pelvic_tiles, split, tile_starts
from pipelines.contract.provenance import Stopwatch


class Network(Protocol):
    """What the analysis needs of an engine."""

    def judge(self, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(tile, window, 256, 256) -> probabilities of metastasis and bladder (tile, 2), and per pixel of background,
        metastasis and bladder (tile, 3, 256, 256)."""
        ...


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


def analyse_view(
    counts: np.ndarray,
    spacing_mm: tuple[float, float] | None,
    name: str,
    network: Network,
    watch: Stopwatch,
    factors: tuple[float, ...] = WINDOW_FACTORS,
    prepared: PreparedView | None = None,
) -> ViewAnalysis:
    """Analyse one view.

    Parameters
    ----------
    counts
        (rows, columns), more is hotter; negative values become 0.
    spacing_mm
        Row and column pitch, None where unknown.
    name
        "anterior" or "posterior".
    network
        Usually an `engine.Engine`.
    watch
        Stages are timed on it.
    factors
        Upper window levels as multiples of the reference level.
    prepared
        The view as `prepare_view` made it of the same counts, spacing and factors; None to prepare it here.
    """
    counts = np.maximum(np.asarray(counts, dtype=np.float32), 0.0)
    with watch.stage("prepare"):
        prepared = prepared or prepare_view(counts, spacing_mm, factors)
        starts = tile_starts(prepared.windows.shape[1])
        tiles = split(prepared.windows, starts)
    with watch.stage("infer"):
        tile_probabilities, classes = network.judge(tiles)
        gates = gate(tile_probabilities, pelvic_tiles(starts, prepared.frame))
        working = _joined(classes, starts, gates, prepared.windows.shape[1])
    with watch.stage("measure"):
        found = find_foci(prepared.grid.probabilities_to_source(working), counts, prepared, name)
        lesions, bladder = found.classes == METASTASIS, found.classes == BLADDER
        # One mask per view serves all its windows: the burden's images then differ in what the window clips and in
        # nothing else, and the overlay shows the very pixels that were summed.
        greys = [to_grey(window(counts, upper)) for upper in prepared.upper_levels]
        window_sums = tuple(uptake_sums(grey, lesions, bladder) for grey in greys)
        count_sums = uptake_sums(counts, lesions, bladder)
    return ViewAnalysis(
        name, counts, prepared, starts, tile_probabilities, tuple(gates), found, window_sums, count_sums
    )


def _joined(classes: np.ndarray, starts: tuple[int, ...], gates: list[Gate], rows: int) -> np.ndarray:
    """Join the gated tiles' class probabilities, (3, rows, 256); metastases count where the gate lets them."""
    for tile, decision in zip(classes, gates, strict=True):
        if not decision.metastases:
            tile[0] += tile[METASTASIS]
            tile[METASTASIS] = 0.0
    return blend(classes, starts, [decision.segment for decision in gates], rows)
