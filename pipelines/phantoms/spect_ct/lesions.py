"""Lesions: what changes in bone, on CT and in uptake, and which voxels that is.

Benign `Spot`s come planned; metastases are placed here by the site frequencies of the SPECT/CT paper, as far as those
bones are in the field. A lesion changes the Hounsfield units of bone voxels, or their uptake, or both; the kind
decides (`KINDS`). Lesions do not overlap, so every voxel belongs to one at most.

As in the paper benign lesions and metastases are both lesions; `LesionDraft.malignant` tells them apart for analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.lesions import SITE_BONES, SITE_COUNTS
from pipelines.phantoms.spect_ct.marrow import BoneVoxels
from pipelines.phantoms.spect_ct.noise import Texture
from pipelines.phantoms.spect_ct.spots import Spot
from pipelines.phantoms.uptake import lognormal

TINY_SHARE = 0.07
"""Share of metastases under 5 mm across."""

EDGE_MM = 12.0
"""Metastases keep this distance from the first and last slice."""

HU_CEILING = 1700.0


@dataclass(frozen=True)
class Kind:
    """What a kind of lesion does.

    Attributes
    ----------
    change : "denser", "destroyed", "mixed" or "none" on CT. hu : range of the densification.
    contrast : median uptake relative to the bone around it, minus 1. cold : chance of no raised uptake.
    """

    malignant: bool
    change: str
    hu: tuple[float, float]
    contrast: float
    cold: float


KINDS = {
    "sclerotic": Kind(True, "denser", (260, 750), 4.0, 0.10),
    "lytic": Kind(True, "destroyed", (0, 0), 3.0, 0.20),
    "mixed": Kind(True, "mixed", (260, 650), 3.8, 0.04),
    "marrow": Kind(True, "none", (0, 0), 4.2, 0.0),
    "osteophyte": Kind(False, "denser", (220, 520), 2.4, 0.25),
    "end_plates": Kind(False, "denser", (200, 480), 2.4, 0.15),
    "facet": Kind(False, "denser", (200, 480), 2.6, 0.10),
    "arthritis": Kind(False, "denser", (180, 420), 2.2, 0.10),
    "rib_fracture": Kind(False, "denser", (220, 520), 4.0, 0.05),
    "compression_fracture": Kind(False, "denser", (200, 450), 3.2, 0.10),
    "enostosis": Kind(False, "denser", (550, 900), 0.0, 1.0),
}
METASTASIS_KINDS = {"sclerotic": 0.40, "lytic": 0.25, "mixed": 0.15, "marrow": 0.20}


@dataclass(frozen=True)
class LesionDraft:
    """One lesion on the list of bone voxels.

    Attributes
    ----------
    voxels : indices into the `BoneVoxels`. strength : float32 in (0, 1], 1 in its middle, 0.5 at its border.
    excess : float32, raised uptake of the voxels (concentration). hu_change : float32.
    """

    kind: str
    bone: str
    site: str
    centre_mm: np.ndarray
    contrast: float
    voxels: np.ndarray
    strength: np.ndarray
    excess: np.ndarray
    hu_change: np.ndarray

    @property
    def malignant(self) -> bool:
        """True for a metastasis."""
        return KINDS[self.kind].malignant

    @property
    def body(self) -> np.ndarray:
        """Indices of the voxels inside its border."""
        return np.asarray(self.voxels[self.strength >= 0.5])


def draw_number(rng: np.random.Generator) -> int:
    """Draw how many metastases a bed shows: none in 30 %, else one to fourteen."""
    kind = rng.choice(["none", "few", "several", "many"], p=[0.30, 0.36, 0.24, 0.10])
    low, high = {"none": (0, 1), "few": (1, 3), "several": (3, 7), "many": (7, 15)}[str(kind)]
    return int(rng.integers(low, high))


class Placer:
    """Places lesions one by one and changes the bone's HU; uptake is added by `activity`."""

    def __init__(self, bone: BoneVoxels, rng: np.random.Generator) -> None:
        self.bone, self.rng = bone, rng
        self.taken = np.zeros(len(bone.flat), bool)
        self.placed: list[LesionDraft] = []
        self.patches = Texture(rng, 6.0)
        z = bone.grid.coordinates(0)
        self._within = (bone.points[:, 2] > z[0] + EDGE_MM) & (bone.points[:, 2] < z[-1] - EDGE_MM)
        self._deep = self._within & (bone.depth > 1.0)

    def add_spot(self, spot: Spot) -> LesionDraft | None:
        """Turn a planned spot into a lesion; None if it lies outside the field or on another lesion."""
        return self._place(spot, float(self.rng.uniform(0.12, 0.35)))

    def add_metastases(self, number: int) -> None:
        """Place metastases by site frequency."""
        shares = {site: count for site, count in SITE_COUNTS.items() if self._candidates(site).size}
        if not shares:
            return
        odds = np.array(list(shares.values()), float)
        level = lognormal(self.rng, 1.0, 0.25)
        for _ in range(number):
            site = str(self.rng.choice(list(shares), p=odds / odds.sum()))
            kind = str(self.rng.choice(list(METASTASIS_KINDS), p=list(METASTASIS_KINDS.values())))
            tiny = self.rng.random() < TINY_SHARE
            radius = self.rng.uniform(1.7, 2.5) if tiny else float(np.clip(lognormal(self.rng, 9.5, 0.45), 3.0, 32.0))
            self._add_random(kind, site, radius, level * (2.0 if tiny else 1.0))

    def add_bone_islands(self, number: int) -> None:
        """Place enostoses: small, dense, without uptake."""
        sites = [site for site in SITE_COUNTS if self._candidates(site).size]
        for _ in range(number if sites else 0):
            self._add_random("enostosis", str(self.rng.choice(sites)), float(self.rng.uniform(2.2, 5.5)), 1.0)

    def _candidates(self, site: str) -> np.ndarray:
        return np.flatnonzero(self.bone.select(*SITE_BONES[site]) & self._deep)

    def _add_random(self, kind: str, site: str, radius: float, level: float) -> None:
        seed = int(self.rng.choice(self._candidates(site)))
        axes = np.linalg.qr(self.rng.standard_normal((3, 3)))[0]
        radii = radius * np.exp(self.rng.normal(0, 0.22, 3))
        name = self.bone.names[self.bone.structure[seed] - 1]
        spot = Spot(kind, _joined(name), self.bone.points[seed].astype(float), axes, radii)
        self._place(spot, float(self.rng.uniform(0.1, 0.45)), site, level)

    def _place(self, spot: Spot, rim: float, site: str = "", level: float = 1.0) -> LesionDraft | None:
        bone, reach = self.bone, float(spot.radii_mm.max()) * 1.4
        near = np.flatnonzero((np.abs(bone.points - spot.centre_mm.astype(np.float32)) < reach).all(1))
        near = near[bone.select(*spot.bones)[near]]
        offset = (bone.points[near] - spot.centre_mm) @ spot.axes.T / spot.radii_mm
        wobble = 1 + 0.14 * np.sin(offset @ self.rng.normal(0, 2.0, 3) + self.rng.uniform(0, 2 * np.pi))
        strength = np.clip((1 + rim / 2 - np.linalg.norm(offset, axis=1) * wobble) / rim, 0, 1).astype(np.float32)
        near, strength = near[strength > 0], strength[strength > 0]
        body = near[strength >= 0.5]
        if body.size < 6 or self._within[body].mean() < 0.95 or self.taken[near].any():
            return None
        kind = KINDS[spot.kind]
        contrast = 1.0
        if self.rng.random() >= kind.cold:
            contrast += float(np.clip(lognormal(self.rng, kind.contrast * level, 0.45), 0.6, 20))
        change = self._change(kind, near, strength)
        bone.hu[near] += change
        middle = int(near[np.argmin(np.linalg.norm(bone.points[near] - spot.centre_mm, axis=1))])
        name = bone.names[bone.structure[middle] - 1]
        draft = LesionDraft(spot.kind, name, site or site_of(name), bone.points[body].mean(0), contrast, near,
                            strength, self._excess(kind, near, strength, contrast), change)  # fmt: skip
        self.taken[self._surroundings(near)] = True
        self.placed.append(draft)
        return draft

    def _surroundings(self, near: np.ndarray) -> np.ndarray:
        """Return all bone voxels close to a lesion, where no other may begin."""
        low, high = self.bone.points[near].min(0) - 4, self.bone.points[near].max(0) + 4
        return np.flatnonzero(((self.bone.points > low) & (self.bone.points < high)).all(1))

    def _change(self, kind: Kind, near: np.ndarray, strength: np.ndarray) -> np.ndarray:
        """Return the change in HU of a lesion's voxels."""
        held = self.bone.hu[near]
        amount = self.rng.uniform(*kind.hu)
        patch = self.patches.at(self.bone.points[near])
        denser = np.minimum(held + amount * (1 + 0.2 * patch), np.maximum(held, HU_CEILING)) - held
        destroyed = self.rng.uniform(20, 60) + 12 * patch - held
        if kind.change == "destroyed" and self.rng.random() < 0.35:
            # The cortex still stands.
            destroyed = np.where(self.bone.depth[near] > self.bone.cortex_mm[near], destroyed, 0)
        if kind.change == "mixed":
            destroyed = np.where(patch > self.rng.uniform(-0.5, 0.5), denser, destroyed)
        chosen = {"denser": denser, "destroyed": destroyed, "mixed": destroyed, "none": np.zeros_like(held)}[
            kind.change
        ]
        return np.asarray(chosen * strength, np.float32)

    def _excess(self, kind: Kind, near: np.ndarray, strength: np.ndarray, contrast: float) -> np.ndarray:
        """Return the raised uptake; some destroyed bone takes up at its border only."""
        profile = strength
        if kind.change == "destroyed" and self.rng.random() < 0.3:
            profile = strength * (1.15 - strength)
            profile = profile / max(float(profile.max()), 1e-6)
        return np.asarray((contrast - 1) * self.bone.uptake[near] * profile, np.float32)


def site_of(name: str) -> str:
    """Return the site group of a bone, "other" if it is in none."""
    return next((site for site, bones in SITE_BONES.items() if name.startswith(bones)), "other")


def total_excess(bone: BoneVoxels, lesions: Sequence[LesionDraft]) -> np.ndarray:
    """Return the raised uptake of all lesions per bone voxel, float32."""
    excess = np.zeros(len(bone.flat), np.float32)
    for lesion in lesions:
        excess[lesion.voxels] += lesion.excess
    return excess


def _joined(name: str) -> tuple[str, ...]:
    """Return the structures that a metastasis seated in one may reach into."""
    hip = ("ilium", "acetabulum", "pubis", "ischium")
    if name.startswith(hip):
        return tuple(f"{part}{name[-2:]}" for part in hip)
    return (name,)
