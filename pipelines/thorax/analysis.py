"""The method itself: the views of one scan in, foci of each view out.

views -> thorax crop, the same rows of both -> network input, per view or of both added -> probabilities -> back to each
view's working grid -> back to its source grid -> foci.

Numbers only: no DICOM object is read or written here, and no sentence composed (`findings` does that).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines.contract.provenance import Stopwatch
from pipelines.planar.lesions import FociOfView, find_foci
from pipelines.planar.prepare import PreparedView
from pipelines.thorax.aggregate import aggregate
from pipelines.thorax.crop import ThoraxCrop, find_thorax, shared_crop
from pipelines.thorax.display import shown


class Network(Protocol):
    """What the analysis needs of an engine."""

    @property
    def aggregated(self) -> bool:
        """True if it wants both views added."""
        ...

    def judge(self, images: np.ndarray) -> np.ndarray:
        """float32 (n, 256, 256) in [0, 1] -> probability of metastasis per pixel, same shape."""
        ...


@dataclass(frozen=True)
class View:
    """One view to analyse: its name, its counts (rows, columns; more is hotter), and both prepared."""

    name: str
    counts: np.ndarray
    prepared: PreparedView


@dataclass(frozen=True)
class ViewAnalysis:
    """Everything computed of one view.

    Attributes
    ----------
    counts
        float32, (rows, columns), source grid, not negative.
    crop
        Rows of the working grid that were looked at.
    probability
        float32 (256, 256), the network's answer on the crop.
    found
        Class map and foci on the source grid.
    """

    name: str
    counts: np.ndarray
    prepared: PreparedView
    crop: ThoraxCrop
    probability: np.ndarray
    found: FociOfView


def analyse(views: Sequence[View], network: Network, watch: Stopwatch) -> list[ViewAnalysis]:
    """Analyse the views of one scan, the anterior first; stages are timed on `watch`."""
    with watch.stage("crop"):
        crops = _crops(views)
        levels = [crop.cut(v.prepared.counts / v.prepared.reference) for v, crop in zip(views, crops, strict=True)]
        both = aggregate(levels[0], levels[1]) if network.aggregated and len(levels) == 2 else None
        images = levels if both is None else [both.image / 2]
    with watch.stage("infer"):
        answers = list(network.judge(np.stack([shown(level) for level in images])))
    if both is not None:
        answers = [answers[0], both.to_back(answers[0])]
    with watch.stage("measure"):
        return [_measure(*each) for each in zip(views, crops, answers, strict=True)]


def _crops(views: Sequence[View]) -> list[ThoraxCrop]:
    """One crop for views of one grid; views of different grids (two series) have a crop each."""
    grids = {(v.prepared.grid.shape, v.prepared.grid.source_spacing_mm) for v in views}
    if len(grids) == 1:
        return [shared_crop([v.prepared for v in views])] * len(views)
    return [find_thorax(v.prepared.mask, v.prepared.frame) for v in views]


def _measure(view: View, crop: ThoraxCrop, probability: np.ndarray) -> ViewAnalysis:
    counts = np.maximum(np.asarray(view.counts, dtype=np.float32), 0.0)
    working = crop.paste(probability, view.prepared.counts.shape[0])
    # Three exclusive classes as all planar pipelines have them; the bladder is not asked for here.
    classes = np.stack([1.0 - working, working, np.zeros_like(working)])
    found = find_foci(view.prepared.grid.probabilities_to_source(classes), counts, view.prepared, view.name)
    return ViewAnalysis(view.name, counts, view.prepared, crop, probability, found)
