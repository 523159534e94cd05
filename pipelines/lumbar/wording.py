"""The sentences of a lumbar result: conclusion, limitations, definitions of its figures.

Plain statements of what was computed and what stands against trusting it; never a diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.contract.weights import ModelCard
from pipelines.imaging.instance import lossy_remark
from pipelines.imaging.volume import Volume, tilt_deg
from pipelines.lumbar.classes import BODY, CANAL
from pipelines.lumbar.instances import Instance, LevelMap
from pipelines.lumbar.quantities import LumbarMeasurements

TILT_WORTH_SAYING_DEG = 15.0
"""Obliquity from which distances across the slices and the choice of the middle slice suffer visibly."""

THICK_MM = 5.5
"""Slices further apart than in any scan the networks were trained for."""

UNSURE = "unsure"
CASCADE_FLAGS = {
    "coarse_empty": "The coarse network found no spine, so the fine one looked at the whole image: do not rely on "
    "the result.",
    "box_small": "The coarse network found less than three levels: parts of the lumbar spine are likely missing.",
    UNSURE: "The networks are unusually unsure of the vertebral bodies they marked: the picture may show no lumbar "
    "spine, or one unlike those they learned from. Do not rely on the result.",
}
"""Sentences for `CascadeResult.flags`, and for what the pipeline itself finds doubtful about them."""

NOTES = {
    BODY: "Vertebral body without pedicles and posterior elements",
    CANAL: "Thecal sac without cord and cauda equina",
}
"""What a segment of a class does and does not hold."""

HEIGHTS = "six-point morphometry on the middle sagittal slices"
WEDGE = "anterior height / posterior height"
INDEX = "mean disc height / mean anteroposterior depth of the adjacent end plates"
SAC = "thecal sac with cord and cauda equina, perpendicular to its centreline in the disc's plane"
FORAMEN = "on the sagittal slice where the foramen is largest"
WITHIN_FIELD = "as far as the field of view shows it"


def conclusion(levels: LevelMap, measured: LumbarMeasurements) -> str:
    """One or two sentences: what was found, and the narrowest sac; there is at least one vertebra."""
    names = list(dict.fromkeys((levels.vertebrae[0].name, levels.vertebrae[-1].name)))
    bodies = _count(len(levels.vertebrae), "vertebral body", "vertebral bodies")
    parts = [f"{bodies} ({' to '.join(names)})", _count(len(levels.discs), "disc", "discs")]
    if levels.get("sacrum"):
        parts.append("the sacrum")
    text = f"The network marked {', '.join(parts[:-1])} and {parts[-1]}"
    text += "." if levels.levels_certain else "; the names of the levels are uncertain."
    diameters = [(s.ap_diameter_mm.value, s.level) for s in measured.canal if s.ap_diameter_mm.value is not None]
    if diameters:
        narrowest, level = min(diameters)
        text += f" Smallest anteroposterior diameter of the thecal sac at a disc: {narrowest:.1f} mm at {level}."
    return text


def limitations(
    volume: Volume,
    levels: LevelMap,
    measured: LumbarMeasurements,
    flags: Sequence[str],
    remarks: Sequence[str],
    cards: Sequence[ModelCard],
) -> tuple[str, ...]:
    """Sentences that must travel with the result, the weightiest first.

    Parameters
    ----------
    volume, levels, measured
    flags
        Of the cascade.
    remarks
        About the choice and the files of the series, without a full stop.
    cards
        Of the weights.
    """
    said = ["For research use only: not for diagnosis or treatment decisions."]
    if any(card.simulated_only for card in cards):
        said.append("The networks were trained on simulated patients only and were not validated on real ones.")
    said += [CASCADE_FLAGS[flag] for flag in flags]
    # Without a sacrum the sentence about numbering is itself a flag.
    said += list(dict.fromkeys([levels.numbering, *(flag.sentence for flag in levels.flags)]))
    doubts = [flag.sentence for item in levels.items for flag in item.flags if flag.code != "uncertain"]
    if doubts:
        said.append(" ".join(doubts))
    absent = [disc.name for disc in measured.discs if disc.number is None]
    absent += [f"{foramen.name} foramen" for foramen in measured.foramina if foramen.number is None]
    if absent:
        said.append(f"Not found, which does not mean absent: {', '.join(absent)}.")
    tilt = tilt_deg(volume.stack.orientation, "L")
    if tilt >= TILT_WORTH_SAYING_DEG:
        said.append(f"The slices are {tilt:.0f} degrees off the sagittal plane; figures follow the slices.")
    if volume.spacing_mm[0] > THICK_MM:
        said.append(f"The slices lie {volume.spacing_mm[0]:.1f} mm apart; foramina and volumes are coarse.")
    if lossy := lossy_remark(volume.source.headers):
        said.append(lossy)
    said += [f"{remark[:1].upper()}{remark[1:]}." for remark in remarks]
    said.append(
        "Vertebrae are marked by their bodies only, without pedicles and posterior elements; scans after spinal "
        "surgery, with tumours or infection were not part of the training."
    )
    return tuple(said)


def segment_note(item: Instance) -> str:
    """What a segment's description says beside its label."""
    words = [NOTES.get(item.structure, ""), *(flag.sentence.rstrip(".") for flag in item.flags)]
    return ". ".join(word for word in words if word)


def _count(number: int, one: str, many: str) -> str:
    return f"{number or 'no'} {one if number == 1 else many}"
