"""The method itself, one view at a time: counts in, foci and sums for the index out.

view -> prepared windows -> tiles -> classifier -> gate -> segmenter -> blended probabilities, mean of the windows ->
class map on the source grid -> foci -> uptake sums of each window and of the counts.

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


class Networks(Protocol):
    """What the analysis needs of an engine."""

    def classify(self, tiles: np.ndarray) -> np.ndarray:
        """(tile, 256, 256) -> (tile, 2), probabilities of metastasis and bladder."""
        ...

    def segment(self, tiles: np.ndarray) -> np.ndarray:
        """(tile, 256, 256) -> (tile, 3, 256, 256), probabilities of background, metastasis, bladder."""
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
        Per tile its first row, the classifier's answer (tile, window, 2), and what the gate made of it.
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
    networks: Networks,
    watch: Stopwatch,
    factors: tuple[float, ...] = WINDOW_FACTORS,
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
    networks
        Usually an `engine.Engine`.
    watch
        Stages are timed on it.
    factors
        Upper window levels as multiples of the reference level.
    """
    counts = np.maximum(np.asarray(counts, dtype=np.float32), 0.0)
    with watch.stage("prepare"):
        prepared = prepare_view(counts, spacing_mm, factors)
        starts = tile_starts(prepared.windows.shape[1])
        tiles = split(prepared.windows, starts)
    with watch.stage("classify"):
        flat = tiles.reshape(-1, *tiles.shape[2:])
        tile_probabilities = networks.classify(flat).reshape(len(starts), len(factors), 2)
        gates = gate(tile_probabilities, pelvic_tiles(starts, prepared.frame))
    with watch.stage("segment"):
        working = _segment(tiles, starts, gates, networks, prepared.windows.shape[1])
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


def _segment(
    tiles: np.ndarray, starts: tuple[int, ...], gates: list[Gate], networks: Networks, rows: int
) -> np.ndarray:
    """Segment the gated tiles in every window; return the mean class probabilities, (3, rows, 256)."""
    used = [index for index, decision in enumerate(gates) if decision.segment]
    windows = tiles.shape[1]
    probabilities = np.zeros((len(starts), 3, *tiles.shape[2:]), dtype=np.float32)
    if used:
        chosen = tiles[used].reshape(-1, *tiles.shape[2:])
        # Blending is linear, so the mean over the windows may be taken before it.
        mean = networks.segment(chosen).reshape(len(used), windows, 3, *tiles.shape[2:]).mean(axis=1)
        for index, tile in zip(used, mean, strict=True):
            if not gates[index].metastases:
                tile[0] += tile[METASTASIS]
                tile[METASTASIS] = 0.0
            probabilities[index] = tile
    return blend(probabilities, starts, [decision.segment for decision in gates], rows)
