"""From the foci of both views to `Findings`: segments, regions with closed curves, quantities, sentences.

scan (where pixels came from) + analyses (what was computed) + model card -> a label map per source series, a region
per focus, the study's quantities, the conclusion and its limitations. Nothing is written here.

The wording never diagnoses: the network marks foci, a physician says what they are.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.contract import Findings, Quantity
from pipelines.contract.provenance import Provenance
from pipelines.contract.weights import ModelCard
from pipelines.imaging.planar import PlanarScan
from pipelines.planar import codes
from pipelines.planar.outline import WORKING_SPACING_MM
from pipelines.planar.regions import numbering_of
from pipelines.planar.segmentations import segmentations_of
from pipelines.planar.wording import (
    FOCI_PER_VIEW,
    WHAT_MAY_BE_WRONG,
    body_details,
    count_of,
    scan_limitations,
    shared_details,
)
from pipelines.thorax.analysis import ViewAnalysis
from pipelines.thorax.crop import CROP_PIXELS

ALGORITHM = "Thorax: recurrent dilated-inception network, semi-supervised (doi:10.3389/fmolb.2022.956720)"

REACH_CM = round(CROP_PIXELS * WORKING_SPACING_MM / 10)
"""How far down from the neck is looked, in every patient."""


def build_findings(scan: PlanarScan, analyses: Sequence[ViewAnalysis], provenance: Provenance) -> Findings:
    """Assemble the findings; one analysis per view of the scan, in its order."""
    segmentations, regions = segmentations_of(scan, analyses)
    return Findings(
        pipeline=provenance.pipeline,
        pipeline_version=provenance.version,
        algorithm_name=ALGORITHM,
        models=tuple(card.identity for card in provenance.cards),
        segmentations=segmentations,
        regions=regions,
        numbering=numbering_of({analysis.name: analysis.found for analysis in analyses}),
        quantities=tuple(
            Quantity(codes.FOCI, float(len(a.found.foci)), codes.FOCI_UNIT, method=f"thorax, {a.name} view")
            for a in analyses
        ),
        conclusion=_conclusion(analyses),
        limitations=_limitations(scan, analyses, provenance.cards),
        details={
            **shared_details(scan, provenance),
            "images": [_view_details(v.polarity, a) for v, a in zip(scan.views, analyses, strict=True)],
        },
    )


def _conclusion(analyses: Sequence[ViewAnalysis]) -> str:
    numbers = [f"{count_of(len(a.found.foci), 'focus', 'foci')} on the {a.name} view" for a in analyses]
    # Not "in the thorax": the crop goes on below it, further the smaller the patient.
    text = f"From the neck {REACH_CM} cm down the network marked {' and '.join(numbers)}"
    largest = [(focus.counts_total, focus.location.words) for a in analyses for focus in a.found.foci]
    if not largest:
        return f"{text}; that does not exclude metastases."
    return f"{text}, the one with most counts at: {max(largest)[1]}."


def _limitations(scan: PlanarScan, analyses: Sequence[ViewAnalysis], cards: Sequence[ModelCard]) -> tuple[str, ...]:
    said = [*scan_limitations(scan, [a.prepared for a in analyses], cards)]
    said.append(
        f"Looked at were {REACH_CM} cm from the neck down over the whole width, arms included: the thorax and what "
        "lies below it, into the pelvis in adults, to hips and thighs in small patients. Nothing else was looked at."
    )
    if not all(a.crop.found for a in analyses):
        said.append("The neck was not seen: where the thorax begins was taken from the body's proportions.")
    return (*said, FOCI_PER_VIEW, WHAT_MAY_BE_WRONG)


def _view_details(polarity: str, analysis: ViewAnalysis) -> dict[str, object]:
    first, _ = analysis.crop.rows(analysis.prepared.counts.shape[0])
    return {
        "view": analysis.name,
        "polarity": polarity,
        **body_details(analysis.prepared),
        "thorax": {
            "first_working_row": first.start,
            "last_working_row": first.stop - 1,
            "neck_found": analysis.crop.found,
        },
    }
