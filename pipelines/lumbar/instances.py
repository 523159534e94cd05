"""What `name_levels` hands on: every vertebra, disc and foramen as an instance with a name, and what is doubtful.

label map of the network -> `pipelines.lumbar.levels.name_levels` -> `LevelMap` -> `measurements.measure`, findings.

Axes everywhere: (slice, row, column); slices run from the patient's right to the left, rows from superior to
inferior, columns from anterior to posterior. Positions in mm are index times spacing, the first voxel's centre at 0.
Holds values only; nothing here computes anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.lumbar.classes import BODY, CLASSES, DISC, FORAMEN

SACRUM_NAME = "sacrum"
CANAL_NAME = "spinal canal"
CORD_NAME = "cord and cauda equina"


@dataclass(frozen=True)
class Flag:
    """Something a reader must know.

    Attributes
    ----------
    code
        Stable key, one of `LEVEL_FLAGS` (whole map) or `INSTANCE_FLAGS`.
    sentence
        English, complete, ready to be shown.
    """

    code: str
    sentence: str


LEVEL_FLAGS = {
    "no_vertebra": "nothing that could be a vertebral body was found; the map holds no instances of bodies",
    "sacrum_not_visible": "names are a guess: the sacrum to count from was not found",
    "levels_uncertain": "the count from the sacrum is doubtful (a gap in the chain, a doubtful last body)",
    "transitional": "signs of a lumbosacral transitional vertebra",
    "lumbar_count": "the ribs say that there are four or six lumbar vertebrae, or leave the number open",
    "bodies_rejected": "bodies off the spine's chain were removed",
    "body_reassigned": "a body was taken for sacrum, or a part of the sacrum for a body",
    "discs_missing": "two neighbouring vertebrae have no disc between them",
}
"""Codes of `LevelMap.flags` and what each means; the sentence in a flag names the levels."""

DOUBTFUL_NAMES = frozenset({"sacrum_not_visible", "levels_uncertain", "transitional", "lumbar_count", "no_vertebra"})
"""Of these, the ones that put every name in doubt."""

INSTANCE_FLAGS = {
    "cut_by_edge": "reaches the edge of the field of view",
    "split": "was fused with its neighbour in the label map and was cut from it",
    "merged": "was in several pieces in the label map",
    "uncertain": "its name is doubtful",
    "small": "much smaller than its neighbours: perhaps only a part",
}
"""Codes of `Instance.flags` and what each means."""


@dataclass(frozen=True)
class Instance:
    """One named structure.

    Attributes
    ----------
    number
        Its value in `LevelMap.instances`; 1, 2, 3 ... without gaps, in the order of `LevelMap.items`.
    structure
        The class it belongs to (`pipelines.lumbar.classes`: BODY, DISC, CANAL, FORAMEN, CORD or SACRUM).
    name
        "L5", "T12"; "L4/L5", "L5/S1"; "L4/L5 right", "L4/L5 left"; "sacrum", "spinal canal",
        "cord and cauda equina". Unique within a map.
    level
        "L5" for a vertebra, "L4/L5" for a disc or a foramen, "" for what spans many levels.
    side
        "right" or "left" for foramina, else "".
    centroid_voxel, centroid_mm
        (slice, row, column), the mean of its voxels' centres, in voxels and in mm.
    volume_mm3
    cut_edges
        Edges of the field of view at which a substantial part of it ends: of "right", "left", "superior",
        "inferior", "anterior", "posterior".
    flags
        What is doubtful about it; empty where nothing is.
    """

    number: int
    structure: int
    name: str
    level: str
    side: str
    centroid_voxel: tuple[float, float, float]
    centroid_mm: tuple[float, float, float]
    volume_mm3: float
    cut_edges: tuple[str, ...] = ()
    flags: tuple[Flag, ...] = ()

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"instance numbers start at 1, got {self.number}")
        if not 0 < self.structure < len(CLASSES):
            raise ValueError(f"{self.name}: {self.structure} is no structure of the label map")

    @property
    def cut_by_edge(self) -> bool:
        """True where the field of view ends within the structure."""
        return bool(self.cut_edges)

    @property
    def flag_codes(self) -> frozenset[str]:
        return frozenset(flag.code for flag in self.flags)


@dataclass(frozen=True)
class LevelMap:
    """The cleaned label map and its named instances.

    Attributes
    ----------
    structures
        uint8, (slice, row, column): the label map after cleaning, values of `pipelines.lumbar.classes`.
    instances
        uint8 (uint16 beyond 255), same shape: 0, or the number of an `Instance`. Non-zero exactly where
        `structures` is.
    items
        The instances, ordered for a report: vertebrae from the top down, sacrum, discs from the top down,
        canal, cord and cauda equina, foramina from the top down (right before left).
    spacing_mm
        (slice, row, column).
    numbering
        One sentence: how the levels were named. It belongs into every report: without the ribs the number of
        lumbar vertebrae cannot be known, and six lumbar-type vertebrae then count as T12 to L5.
    flags
        What is doubtful about the whole; empty where nothing is.
    lumbar
        Number of lumbar vertebrae that the names rest on.
    """

    structures: np.ndarray
    instances: np.ndarray
    items: tuple[Instance, ...]
    spacing_mm: tuple[float, float, float]
    numbering: str
    flags: tuple[Flag, ...] = ()
    lumbar: int = 5

    def __post_init__(self) -> None:
        if self.structures.shape != self.instances.shape or self.structures.ndim != 3:
            raise ValueError(f"structures {self.structures.shape} and instances {self.instances.shape} do not match")
        if [item.number for item in self.items] != list(range(1, len(self.items) + 1)):
            raise ValueError("instances must be numbered 1, 2, 3 ... in their order")
        if len({item.name for item in self.items}) != len(self.items):
            raise ValueError("two instances have the same name")

    @property
    def levels_certain(self) -> bool:
        """False where a flag puts the names in doubt: say so wherever a name is shown."""
        return not DOUBTFUL_NAMES & self.flag_codes

    @property
    def flag_codes(self) -> frozenset[str]:
        return frozenset(flag.code for flag in self.flags)

    @property
    def vertebrae(self) -> tuple[Instance, ...]:
        """Vertebral bodies from the top down, without the sacrum."""
        return self.of(BODY)

    @property
    def discs(self) -> tuple[Instance, ...]:
        return self.of(DISC)

    @property
    def foramina(self) -> tuple[Instance, ...]:
        return self.of(FORAMEN)

    def of(self, structure: int) -> tuple[Instance, ...]:
        """Return the instances of one class, in order."""
        return tuple(item for item in self.items if item.structure == structure)

    def get(self, name: str) -> Instance | None:
        """Return the instance of that name, or None."""
        return next((item for item in self.items if item.name == name), None)
