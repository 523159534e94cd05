"""The sentences of a SPECT/CT result: conclusion, limitations, definitions of its figures. Never a diagnosis."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.contract.weights import ModelCard
from pipelines.imaging.instance import lossy_remark
from pipelines.imaging.volume import Volume
from pipelines.spect_ct.bone import share_untold
from pipelines.spect_ct.grid import Prepared
from pipelines.spect_ct.lesions import LEAST_PEAK, LesionMap
from pipelines.spect_ct.uses import CT, FUSED, SPECT, TITLES

NATURE = "Focal lesion, nature undetermined"
VOLUME = "voxels of 1 x 1 mm and the slices' distance that the network marked"
COUNTS = "stored counts of the SPECT's own voxels, not calibrated"
CONTRAST = "mean counts / median counts from 8 to 20 mm around, within the body and outside of all lesions"
PROBABILITY = (
    f"highest output of the network within the lesion; not calibrated; lesions below {LEAST_PEAK:.0%} are left out"
)
TOTAL = "sum over all lesions"
CHILD = (
    "the patient is under 16: the network was trained on adults, and places off bone were not left out, because thin "
    "bones may not be seen as bone"
)

MANY_FALSE = 5.0
FEWEST_OF_A_KIND, MOSTLY = 10, 0.5
TOLD_OUTSIDE = 0.01
"""Share of the body beside the grid from which a result says so."""

THICK_MM = {SPECT: 5.5, CT: 4.0}
"""Slices further apart than in the scans that the network was trained for (4.4 to 4.9 mm, 3 mm)."""


def conclusion(use: str, found: LesionMap) -> str:
    """One or two sentences: what was analysed and found."""
    if not found.lesions:
        return f"The network marked no focal bone lesion on {TITLES[use]}."
    number = len(found.lesions)
    total = sum(lesion.volume_ml for lesion in found.lesions)
    lesions = f"{number} focal bone lesion{'s' if number > 1 else ''}, {total:.1f} ml in all"
    largest = found.lesions[0].volume_ml
    if number > 1:
        lesions += f", the largest {largest:.1f} ml"
    return f"The network marked {lesions}, on {TITLES[use]}. Their nature is undetermined."


def false_marks(card: ModelCard) -> str:
    """Say how many false places weights marked in their own evaluation, where that is more than a reader can sift."""
    held = card.metrics.get("held_out", {}).get("uses", {}).get(FUSED, {}).get("volume", {})
    number = held.get("false_positives_per_patient")
    if number is None or number < MANY_FALSE:
        return ""
    return (
        f"In their own evaluation these weights marked {number:.0f} places per patient that are no lesion: outlines of "
        "this version show that the way works and nothing else."
    )


def missed_kinds(card: ModelCard, use: str) -> str:
    """Name the kinds of lesion of which weights missed most in their own evaluation, with the numbers.

    Missed as `evaluation_report` counts it: by the bar that a piece must reach to be in a result.
    """
    kinds = card.metrics.get("held_out", {}).get("uses", {}).get(use, {}).get("by_kind", {})
    told = [
        f"{kind.replace('_', ' ')} ({held['missed']} of {held['lesions']})"
        for kind, held in kinds.items()
        if held["lesions"] >= FEWEST_OF_A_KIND and held["missed"] > MOSTLY * held["lesions"]
    ]
    if not told:
        return ""
    return (
        f"In their own evaluation these weights missed most lesions of these kinds on {TITLES[use]}: {', '.join(told)}."
    )


def limitations(
    use: str,
    prepared: Prepared,
    found: LesionMap,
    volumes: Sequence[Volume],
    remarks: Sequence[str],
    ct_absence: str,
    cards: Sequence[ModelCard],
) -> tuple[str, ...]:
    """Sentences that must travel with the result, the weightiest first.

    Parameters
    ----------
    volumes : the sources, the CT first. remarks : on the choice of the series, without a full stop.
    ct_absence : why there is no CT, where there is none.
    """
    said = ["For research use only: not for diagnosis or treatment decisions."]
    if any(card.simulated_only for card in cards):
        said.append("The network was trained on simulated patients only and was not validated on real ones.")
    said += [sentence for card in cards for sentence in (false_marks(card), missed_kinds(card, use)) if sentence]
    if use == SPECT:
        said.append(
            f"SPECT alone was analysed, because {ct_absence or 'there is no CT'}; outlines are coarser than with a CT."
        )
    if use == CT:
        said.append("CT alone was analysed; lesions without a change of density cannot be seen.")
    said.append("Benign and malignant lesions are marked alike: the nature of a lesion is undetermined.")
    said += [f"{remark[:1].upper()}{remark[1:]}." for remark in remarks]
    if use == FUSED:
        alone = int((prepared.has_spect & ~prepared.has_ct).sum())
        if alone:
            said.append(f"{alone} slices at the ends lie outside the CT and were analysed on SPECT alone.")
        ct, step = volumes[0], prepared.lattice.spacing_mm[0]
        beyond_mm = ct.values.shape[0] * ct.spacing_mm[0] - int(prepared.has_ct.sum()) * step
        if beyond_mm > step:
            said.append(f"{beyond_mm:.0f} mm of the CT beyond the SPECT were not analysed.")
        beside = share_untold(prepared)
        if beside >= TOLD_OUTSIDE:
            said.append(
                f"{beside:.0%} of the body that the SPECT shows lies beside the CT's field of view: what is marked "
                "there rests on the SPECT."
            )
    if prepared.outside >= TOLD_OUTSIDE:
        said.append(
            f"{prepared.outside:.0%} of the body that the images show, an arm or a leg perhaps, lies beside the area "
            "that was analysed: nothing can be marked there."
        )
    if found.off_bone:
        places, were = ("places", "were") if found.off_bone > 1 else ("place", "was")
        said.append(
            f"{found.off_bone} {places} that the network marked {were} left out, because the CT shows no bone near "
            "(the bladder, a kidney or bowel, most often)."
        )
    if found.left_out:
        said.append(f"{found.left_out} further small pieces were left out: more than a segmentation can hold.")
    named = SPECT if use == SPECT else CT
    for apart_mm in [volume.spacing_mm[0] for volume in volumes[:1] if volume.spacing_mm[0] > THICK_MM[named]]:
        said.append(f"Slices of the {TITLES[named]} lie {apart_mm:.1f} mm apart; small lesions may fall between them.")
    if lossy := lossy_remark(header for volume in volumes for header in volume.source.headers):
        said.append(lossy)
    said.append("Lesions that touch are marked as one.")
    return tuple(said)
