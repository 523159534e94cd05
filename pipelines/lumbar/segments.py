"""Named instances -> segments: the label a reader sees, codes, tracking identifier, colour.

Values only: what a structure is called and how it is told from its neighbours. `findings` puts them on frames.
"""

from __future__ import annotations

from pydicom.sr.coding import Code

from pipelines.contract import Segment
from pipelines.lumbar import codes
from pipelines.lumbar.classes import BODY, CANAL, CORD, DISC, FORAMEN, SACRUM
from pipelines.lumbar.instances import Instance, LevelMap
from pipelines.lumbar.wording import segment_note

BODY_COLOURS = ((230, 159, 0), (86, 180, 233), (240, 228, 66), (204, 121, 167))
DISC_COLOURS = ((255, 90, 70), (120, 230, 90))
CANAL_COLOUR, CORD_COLOUR, SACRUM_COLOUR = (40, 120, 255), (255, 255, 190), (176, 132, 92)
FORAMEN_COLOURS = {"right": (235, 70, 235), "left": (0, 190, 160)}
"""Neighbours differ: bodies and discs alternate, the canal's structures stand apart from both, foramina by side."""


def segments_of(levels: LevelMap) -> tuple[Segment, ...]:
    """Return one segment per instance, numbered as the instances are."""
    return tuple(_segment(levels, item) for item in levels.items)


def _segment(levels: LevelMap, item: Instance) -> Segment:
    kind, region = codes_of(item)
    return Segment(
        number=item.number,
        label=label_of(item, levels.levels_certain),
        category=codes.ANATOMICAL_STRUCTURE,
        type=kind,
        tracking_id=tracking_id_of(item),
        colour_rgb=_colour(item, levels.of(item.structure).index(item)),
        description=segment_note(item)[:1024],
        anatomic_region=region,
        laterality=codes.SIDES.get(item.side),
    )


def codes_of(item: Instance) -> tuple[Code, Code | None]:
    """Return what a structure is, and where, if that is not said by it: codes of its kind and of its region."""
    if item.structure == BODY:
        return codes.BODY[item.level], codes.VERTEBRA[item.level]
    if item.structure == DISC:
        return codes.DISC[item.level], codes.LEVEL[item.level]
    if item.structure == FORAMEN:
        return codes.FORAMEN, codes.LEVEL[item.level]
    if item.structure == SACRUM:
        return codes.SACRUM, None
    return codes.CANAL if item.structure == CANAL else codes.CORD, codes.LUMBAR_SPINE


def label_of(item: Instance, certain: bool) -> str:
    """Return what viewers show: "L4 vertebral body", "L4/L5 disc"; where names are uncertain, "L4? vertebral body"."""
    level = mark_of(item, certain)
    if item.structure == BODY:
        return f"{level} vertebral body"
    if item.structure == DISC:
        return f"{level} disc"
    if item.structure == FORAMEN:
        return f"{level} neural foramen, {item.side}"
    return {CANAL: "Spinal canal (thecal sac)", CORD: "Spinal cord and cauda equina", SACRUM: "Sacrum"}[item.structure]


def mark_of(item: Instance, certain: bool) -> str:
    """Return a level as a picture shows it: "L4", or "L4?" where names are uncertain."""
    return f"{item.level}?" if item.level and not certain else item.level


def tracking_id_of(item: Instance) -> str:
    """Return the identifier that is the same from run to run: "vertebra-L4", "foramen-L4-L5-left"."""
    kind = {BODY: "vertebra", DISC: "disc", FORAMEN: "foramen", CANAL: "canal", CORD: "cord", SACRUM: "sacrum"}
    place = item.level.replace("/", "-")
    return "-".join(part for part in (kind[item.structure], place, item.side) if part)


def _colour(item: Instance, rank: int) -> tuple[int, int, int]:
    if item.structure == BODY:
        return BODY_COLOURS[rank % len(BODY_COLOURS)]
    if item.structure == DISC:
        return DISC_COLOURS[rank % len(DISC_COLOURS)]
    if item.structure == FORAMEN:
        return FORAMEN_COLOURS[item.side]
    return {CANAL: CANAL_COLOUR, CORD: CORD_COLOUR, SACRUM: SACRUM_COLOUR}[item.structure]
