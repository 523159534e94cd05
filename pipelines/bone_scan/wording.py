"""The sentences of a bone-scan result: conclusion, limitations, definitions of windows.

Plain statements of what was computed and what stands against trusting it; never a diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.bone_scan.analysis import ViewAnalysis
from pipelines.bone_scan.bstbi import burden
from pipelines.bone_scan.tiles import CLASSIFIER_THRESHOLD
from pipelines.contract.weights import ModelCard
from pipelines.imaging.instance import is_lossy
from pipelines.imaging.planar import PlanarScan

CROPPED_WORTH_SAYING = 0.005
"""Part of the counts outside the working grid from which the result says so."""


def conclusion(analyses: Sequence[ViewAnalysis]) -> str:
    """One or two sentences: how many foci, where most counts are, the index."""
    numbers = [f"{_count(len(a.found.foci), 'focus', 'foci')} on the {a.name} view" for a in analyses]
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
    said = ["For research use only: not for diagnosis or treatment decisions."]
    if any(card.simulated_only for card in cards):
        said.append("The networks were trained on simulated patients only and were not validated on real ones.")
    if len(analyses) == 1:
        said.append(f"One view only: the scan came as a single {analyses[0].name} image, and all figures are of it.")
    if scan.assumed:
        said.append(
            "Nothing in the header tells anterior from posterior: the first image was taken as anterior, and left and "
            "right rest on that."
        )
    if not all(a.prepared.grid.spacing_known for a in analyses):
        said.append(
            "The pixel spacing is missing or implausible: it was estimated from the body, sizes are given in pixels."
        )
    for a in analyses:
        if a.prepared.cropped_fraction >= CROPPED_WORTH_SAYING:
            said.append(
                f"{100 * a.prepared.cropped_fraction:.1f} % of the {a.name} view's counts lie beside the grid that was "
                "analysed."
            )
        if a.prepared.frame.head_clipped or a.prepared.frame.feet_clipped:
            said.append(f"The {a.name} view cuts the body off; locations are less certain.")
    if any(is_lossy(view.header) for view in scan.views):
        said.append("The image was compressed with loss before it came; counts are approximate.")
    said += [f"{remark[:1].upper()}{remark[1:]}." for remark in scan.remarks]
    said += [
        "The index is that of the unedited output; published values were taken after physicians had deleted false "
        "foci.",
        "Foci are counted on each view by itself: one lesion may appear on both.",
        "Lesions that take up less than normal bone (photopenic) are not detected; fractures, degenerative change, "
        "urine contamination and the injection site may be marked.",
    ]
    return tuple(said)


def window_text(analysis: ViewAnalysis, index: int) -> str:
    """Define one of a view's images: the view and its window's limits."""
    prepared = analysis.prepared
    upper = prepared.upper_levels[index]
    factor = upper * prepared.grid.source_pixels_per_pixel / prepared.reference
    return f"{analysis.name}, window 0 to {upper:.4g} counts per pixel ({factor:.3g} x reference level)"


def _count(number: int, one: str, many: str) -> str:
    return f"{number or 'no'} {one if number == 1 else many}"
