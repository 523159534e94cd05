"""Where benign bone disease sits: planned on the anatomy before bone is listed, because some of it grows new bone.

Each `Spot` is an ellipsoid in which the bones named change (`lesions` decides how); osteophytes, worn facets and
healing fractures also draw their new bone on the canvas here. Frequencies grow with age where they do in people; the
levels of spinal degeneration are those of the whole-body phantom's `confounders`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.anatomy import Patient
from pipelines.phantoms.axial import VERTEBRAE, rib_path, spine_axis, vertebra_levels
from pipelines.phantoms.limbs import SIDES, leg_joints
from pipelines.phantoms.spect_ct.bones import Skeleton
from pipelines.phantoms.spect_ct.vertebrae import Vertebra
from pipelines.phantoms.uptake import lognormal

FRACTURE_LEVELS = ("T6", "T7", "T8", "T9", "T11", "T12", "L1", "L2", "L3")
SPINE_ODDS = {
    "C5": 1.0, "C6": 1.0, "T6": 0.6, "T7": 0.8, "T8": 1.0, "T9": 1.0, "T10": 1.0, "T11": 1.2, "T12": 1.2, "L1": 1.2,
    "L2": 1.6, "L3": 2.4, "L4": 3.2, "L5": 3.6,
}  # fmt: skip


@dataclass(frozen=True)
class Spot:
    """An ellipsoid of diseased bone.

    Attributes
    ----------
    kind : key of `lesions.KINDS`. bones : prefixes of the structures it may change.
    centre_mm : LPS. axes : (3, 3), rows are unit vectors. radii_mm : along them.
    """

    kind: str
    bones: tuple[str, ...]
    centre_mm: np.ndarray
    axes: np.ndarray
    radii_mm: np.ndarray


def draw_collapses(patient: Patient, rng: np.random.Generator) -> dict[str, float]:
    """Draw which vertebrae have collapsed, and by what share of their height in front."""
    risk = float(np.clip((patient.age_years - 45) / 40, 0.02, 1.0)) * (1.5 if patient.sex == "F" else 0.8)
    chosen = [name for name in FRACTURE_LEVELS if rng.random() < 0.05 * risk]
    return {name: float(rng.uniform(0.15, 0.5)) for name in chosen}


def plan_benign(
    skeleton: Skeleton, patient: Patient, collapses: Mapping[str, float], amount: float, rng: np.random.Generator
) -> list[Spot]:
    """Plan all benign disease and draw the new bone it grows.

    Parameters
    ----------
    amount : factor on the numbers, so that a study can be made without any (0).
    """
    risk = float(np.clip((patient.age_years - 30) / 35, 0.1, 1.4)) * amount
    spots = [_fracture_band(skeleton.vertebrae[n], rng) for n in collapses if n in skeleton.vertebrae]
    names = [n for n in SPINE_ODDS if n in skeleton.vertebrae]
    odds = np.array([SPINE_ODDS[n] for n in names])
    if names:
        for draw, rate in ((_osteophyte, 1.3), (_end_plates, 0.6), (_facet, 0.6)):
            for _ in range(rng.poisson(rate * risk)):
                name = names[int(rng.choice(len(names), p=odds / odds.sum()))]
                spots.append(draw(skeleton, skeleton.vertebrae[name], rng))
    spots += _joints(skeleton, patient, risk, rng)
    if rng.random() < 0.16 * amount:
        spots += _rib_fractures(skeleton, patient, rng)
    return spots


def _osteophyte(skeleton: Skeleton, v: Vertebra, rng: np.random.Generator) -> Spot:
    """New bone at the rim of an end plate, anywhere from the front to the sides."""
    angle = rng.uniform(-1.9, 1.9)
    end = rng.choice([-1, 1])
    centre = v.at(v.half_width * np.sin(angle), -v.half_depth * np.cos(angle), end * v.half_height * 0.92)
    across = np.array([[np.cos(angle), np.sin(angle), 0], [np.sin(angle), -np.cos(angle), 0], [0, 0, 1.0]])
    radii = np.array([lognormal(rng, 6.5, 0.35), lognormal(rng, 4.2, 0.3), lognormal(rng, 4.0, 0.25)])
    _grow(skeleton, v.name, centre, across @ v.axes, radii)
    return Spot("osteophyte", (v.name,), centre, across @ v.axes, radii * 1.25)


def _end_plates(skeleton: Skeleton, v: Vertebra, rng: np.random.Generator) -> Spot:
    """Hardened end plates on both sides of the disc above a vertebra, more on one side than on the other."""
    off = rng.uniform(-0.45, 0.45, 2)
    centre = v.at(off[0] * v.half_width, off[1] * v.half_depth, 1.25 * v.half_height)
    radii = np.array([v.half_width, v.half_depth, 1.0]) * rng.uniform(0.55, 0.95, 3)
    radii[2] = v.half_height * 0.25 + rng.uniform(3.5, 8.0)
    return Spot("end_plates", (v.name, _above(v.name)), centre, v.axes, radii)


def _facet(skeleton: Skeleton, v: Vertebra, rng: np.random.Generator) -> Spot:
    """A worn, enlarged facet joint."""
    side = rng.choice([-1, 1])
    pillar = max(0.66 * v.half_width, v.canal[0] + 2.5)
    centre = v.at(side * (pillar + 0.5), v.half_depth + 11, 1.25 * v.half_height)
    radii = rng.uniform(4.5, 7.5) * np.array([1.0, 1.1, 1.2])
    _grow(skeleton, v.name, centre + side * 2 * v.axes[0], v.axes, radii * 0.85)
    return Spot("facet", (v.name, _above(v.name)), centre, v.axes, radii * 1.3)


def _fracture_band(v: Vertebra, rng: np.random.Generator) -> Spot:
    """The dense band below the broken upper end plate."""
    top = float(v.height_at(0.0)) * 2 - v.half_height
    centre = v.at(0, -0.1 * v.half_depth, top - rng.uniform(4, 7))
    return Spot("compression_fracture", (v.name,), centre, v.axes,
                np.array([v.half_width * 1.4, v.half_depth * 1.5, rng.uniform(3.5, 6.0)]))  # fmt: skip


def _joints(skeleton: Skeleton, patient: Patient, risk: float, rng: np.random.Generator) -> list[Spot]:
    """Arthritis of the sacroiliac, hip, sternoclavicular and acromioclavicular joints in the field."""
    spots = []
    place = skeleton.canvas.place
    for side, letter in SIDES:
        hip = leg_joints(patient, side).hip
        for chance, centre, radii, bones in (
            (0.10, (side * 46 * patient.pelvis_width, 60, rng.uniform(738, 772)), (10, 14, 15),
             (f"joint_sacroiliac_{letter}", f"ilium_{letter}", "sacrum")),
            (0.14, (hip[0] + side * rng.uniform(-4, 14), hip[1] + rng.uniform(-12, 8), hip[2] - 25), (15, 15, 9),
             (f"acetabulum_{letter}", f"ilium_{letter}", f"femur_{letter}")),
            (0.16, (side * 27, -66 * patient.chest_depth, 320), (10, 9, 10),
             ("sternum", f"clavicle_{letter}", f"joint_sternoclavicular_{letter}")),
            (0.16, (side * 158 * patient.shoulder_width, 6, 285), (10, 10, 9),
             (f"joint_acromioclavicular_{letter}", f"clavicle_{letter}", f"scapula_{letter}")),
        ):  # fmt: skip
            if rng.random() < chance * risk:
                middle = place(np.array([centre], float))[0]
                half = np.asarray(radii) * rng.uniform(0.65, 1.1, 3)
                spots.append(Spot("arthritis", bones, middle, np.eye(3), half))
    return spots


def _rib_fractures(skeleton: Skeleton, patient: Patient, rng: np.random.Generator) -> list[Spot]:
    """Healing fractures of one to four neighbouring ribs, one below the other."""
    side, letter = SIDES[int(rng.integers(2))]
    first, count = int(rng.integers(2, 10)), int(rng.choice([1, 2, 3, 4], p=[0.35, 0.3, 0.2, 0.15]))
    where = rng.uniform(2.5, 9.5)
    spots = []
    for rib in range(first, min(first + count, 12)):
        top, height = vertebra_levels()[f"T{rib}"]
        z0 = top + height * 0.3
        x0, y0 = (float(v) for v in spine_axis(patient, z0))
        path = skeleton.canvas.place(rib_path(patient, rib - 1, side, x0, y0, z0))
        place = float(np.clip(where + rng.normal(0, 0.3), 1, 10))
        low = int(place)
        centre = path[low] + (path[low + 1] - path[low]) * (place - low)
        along = (path[low + 1] - path[low]) / np.linalg.norm(path[low + 1] - path[low])
        side_axis = np.cross(along, [0, 0, 1.0])
        side_axis /= np.linalg.norm(side_axis)
        axes = np.stack([along, side_axis, np.cross(along, side_axis)])
        radii = np.array([rng.uniform(6, 10), rng.uniform(5.0, 6.8), rng.uniform(7.2, 9.0)])
        name = f"rib_{letter}_{rib}"
        _grow(skeleton, name, centre, axes, radii)
        spots.append(Spot("rib_fracture", (name,), centre, axes, radii * 1.1))
    return spots


def _grow(skeleton: Skeleton, name: str, centre: np.ndarray, axes: np.ndarray, radii: np.ndarray) -> None:
    """Add an ellipsoid of new bone to a bone."""
    scaled = axes / radii[:, None]

    def depth(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        dx, dy, dz = x - centre[0], y - centre[1], z - centre[2]
        rho = np.sqrt(sum((a[0] * dx + a[1] * dy + a[2] * dz) ** 2 for a in scaled))
        return np.asarray((1 - rho) * radii.min(), np.float32)

    reach = float(radii.max()) + 6
    skeleton.canvas.shape(name, centre - reach, centre + reach, depth)


def _above(name: str) -> str:
    """Return the next vertebra towards the head."""
    index = VERTEBRAE.index(name)
    return VERTEBRAE[max(index - 1, 0)]
