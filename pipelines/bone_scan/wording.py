"""The sentences of a bone-scan result: conclusion, limitations, definitions of windows.

Plain statements of what was computed and what stands against trusting it; never a diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.bone_scan.analysis import ViewAnalysis
from pipelines.bone_scan.bstbi import burden
from pipelines.bone_scan.tiles import CLASSIFIER_THRESHOLD
from pipelines.contract.weights import ModelCard
from pipelines.imaging.planar import PlanarScan
from pipelines.planar.wording import FOCI_PER_VIEW, WHAT_MAY_BE_WRONG, count_of, scan_limitations


def conclusion(analyses: Sequence[ViewAnalysis]) -> str:
    """One or two sentences: how many foci, where most counts are, the index."""
    numbers = [f"{count_of(len(a.found.foci), 'focus', 'foci')} on the {a.name} view" for a in analyses]
    largest = [(focus.counts_total, focus.location.words) for a in analyses for focus in a.found.foci]
    text = f"The network marked {' and '.join(numbers)}"
    if largest:
        text += f", the one with most counts at: {max(largest)[1]}"
    result = burden([sums for a in analyses for sums in a.window_sums])
    if result.index is None:
        return f"{text}. The tumour burden index (BSTBI) is not computable: {result.reason}."
    if not largest:
        score = max(float(a.tile_probabilities[..., 0].max()) for a in analyses)
        if score >= CLASSIFIER_THRESHOLD:
            text += f", although its tile labels suggest metastases ({100 * score:.0f} %)"
        else:
            text += "; that does not exclude metastases"
    return f"{text}. Tumour burden index (BSTBI, unedited): {result.index:.3f}."


def limitations(scan: PlanarScan, analyses: Sequence[ViewAnalysis], cards: Sequence[ModelCard]) -> tuple[str, ...]:
    """Sentences that must travel with the result, the weightiest first."""
    said = scan_limitations(scan, [a.prepared for a in analyses], cards)
    return (
        *said,
        "The index is that of the unedited output; published values were taken after physicians had deleted false "
        "foci.",
        FOCI_PER_VIEW,
        WHAT_MAY_BE_WRONG,
    )


def window_text(analysis: ViewAnalysis, index: int) -> str:
    """Define one of a view's images: the view and its window's limits."""
    prepared = analysis.prepared
    upper = prepared.upper_levels[index]
    factor = upper * prepared.grid.source_pixels_per_pixel / prepared.reference
    return f"{analysis.name}, window 0 to {upper:.4g} counts per pixel ({factor:.3g} x reference level)"
