"""Sentences and facts that every result on a planar scan carries, whichever network made it."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.contract.provenance import Provenance
from pipelines.contract.weights import ModelCard
from pipelines.imaging.instance import lossy_remark
from pipelines.imaging.planar import PlanarScan
from pipelines.planar.header_checks import SECONDARY_CAPTURE
from pipelines.planar.prepare import PreparedView

CROPPED_WORTH_SAYING = 0.005
"""Part of the counts outside the working grid from which the result says so."""

FOCI_PER_VIEW = "Foci are counted on each view by itself: one lesion may appear on both."
WHAT_MAY_BE_WRONG = (
    "Lesions that take up less than normal bone (photopenic) are not detected; fractures, degenerative change, urine "
    "contamination and the injection site may be marked."
)


def scan_limitations(scan: PlanarScan, prepared: Sequence[PreparedView], cards: Sequence[ModelCard]) -> tuple[str, ...]:
    """Say what of the scan and of the weights stands against trusting a result, the weightiest first.

    Parameters
    ----------
    prepared
        One per view of the scan, in its order.
    """
    said = ["For research use only: not for diagnosis or treatment decisions."]
    if any(card.simulated_only for card in cards):
        said.append("The networks were trained on simulated patients only and were not validated on real ones.")
    if len(scan.views) == 1:
        said.append(f"One view only: the scan came as a single {scan.views[0].name} image, and all figures are of it.")
    if scan.assumed:
        said.append(
            "Nothing in the header tells anterior from posterior: the first image was taken as anterior, and left and "
            "right rest on that."
        )
    if not all(each.grid.spacing_known for each in prepared):
        said.append(
            "The pixel spacing is missing or implausible: it was estimated from the body, sizes are given in pixels."
        )
    for view, each in zip(scan.views, prepared, strict=True):
        if each.cropped_fraction >= CROPPED_WORTH_SAYING:
            said.append(
                f"{100 * each.cropped_fraction:.1f} % of the {view.name} view's counts lie beside the grid that was "
                "analysed."
            )
        if each.frame.head_clipped or each.frame.feet_clipped:
            said.append(f"The {view.name} view cuts the body off; locations are less certain.")
    if any(str(view.header.get("SOPClassUID", "")) in SECONDARY_CAPTURE for view in scan.views):
        said.append("The scan came as a secondary capture: its values need not be the counts that the scanner stored.")
    if lossy := lossy_remark(view.header for view in scan.views):
        said.append(lossy)
    said += [f"{remark[:1].upper()}{remark[1:]}." for remark in scan.remarks]
    return tuple(said)


def count_of(number: int, one: str, many: str) -> str:
    """Count things in words: "no foci", "1 focus", "2 foci"."""
    return f"{number or 'no'} {one if number == 1 else many}"


def shared_details(scan: PlanarScan, provenance: Provenance) -> dict[str, object]:
    """Return the JSON-ready facts without a place in DICOM that every planar result has."""
    return {
        "views": {"evidence": scan.evidence, "assumed": scan.assumed, "remarks": list(scan.remarks)},
        "models": [{"name": card.name, "version": card.version, "sha256": card.sha256} for card in provenance.cards],
        "device": provenance.device,
        "precision": provenance.precision,
        "seconds": {stage: round(seconds, 4) for stage, seconds in provenance.seconds.items()},
    }


def body_details(prepared: PreparedView) -> dict[str, object]:
    """Return the JSON-ready facts of a prepared view."""
    return {
        "reference_counts_per_working_pixel": prepared.reference,
        "spacing_mm": list(prepared.grid.source_spacing_mm),
        "spacing_known": prepared.grid.spacing_known,
        "cropped_fraction": prepared.cropped_fraction,
        "body": {
            "top_row": prepared.frame.top_row,
            "height_mm": prepared.frame.height_rows * prepared.frame.spacing_mm,
            "head_clipped": prepared.frame.head_clipped,
            "feet_clipped": prepared.frame.feet_clipped,
        },
    }
