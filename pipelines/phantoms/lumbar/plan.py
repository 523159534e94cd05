"""What is drawn: the numbers of one patient's spine, before anything has a place in space.

Sizes are generous ranges around adult anatomy (osteometry of the thoracolumbar spine: body depth 28 to 35 mm, width 32
to 52 mm, height 22 to 29 mm, discs 4 to 12 mm), scaled by stature and jittered per level. Nothing is fitted to any
data set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.phantoms.presets import PRESETS

#        body height, depth, width, disc below, pedicle width, canal width, disc wedge (deg), body wedge (deg)
_TYPICAL = {
    "L5": (27.0, 35.0, 50.0, 9.5, 15.5, 25.0, 14.0, 8.0),
    "L4": (27.5, 34.5, 48.0, 10.8, 12.0, 23.0, 11.0, 2.5),
    "L3": (27.5, 34.0, 46.0, 10.2, 10.0, 22.5, 9.0, 0.5),
    "L2": (27.0, 33.0, 44.0, 9.2, 8.5, 22.0, 6.5, -1.0),
    "L1": (26.0, 31.5, 42.0, 8.0, 7.8, 21.5, 4.0, -2.5),
    "T12": (25.0, 30.5, 40.5, 6.6, 7.8, 20.5, 1.5, -3.5),
    "T11": (23.5, 29.5, 37.5, 5.4, 7.6, 19.0, -1.0, -3.5),
    "T10": (22.5, 28.5, 34.5, 4.8, 6.6, 18.0, -1.0, -3.0),
    "T9": (21.5, 27.5, 32.5, 4.4, 6.2, 17.5, -1.0, -3.0),
    "T8": (21.0, 26.5, 31.0, 4.2, 6.0, 17.0, -1.0, -3.0),
}


@dataclass
class VertebraPlan:
    """One vertebra and the disc below it; lengths in mm, angles in degrees, hydration 1 (young) to 0."""

    name: str
    height: float
    depth: float
    width: float
    disc_height: float
    pedicle_width: float
    canal_width: float
    disc_wedge: float
    body_wedge: float
    hydration: float
    canal_depth: float
    waist: float
    waist_front: float
    concavity: tuple[float, float]
    boxiness: float
    osteophyte: float = 0.0
    bulge: float = 0.0
    slip: float = 0.0
    crush: float = 0.0
    side_wedge: float = 0.0
    stenosis: float = 0.0

    @property
    def rib(self) -> bool:
        """Tell whether it carries ribs."""
        return self.name.startswith("T")


@dataclass
class SpinePlan:
    """A patient's spine, from the last lumbar vertebra upwards."""

    scale: float
    age: float
    lumbar_count: int
    transitional: str
    vertebrae: list[VertebraPlan]
    tilt_deg: float
    sacral_curve: float
    scoliosis_deg: float
    scoliosis_phase: float
    scoliosis_period: float
    lean_deg: float
    twist: float
    conus: float
    cortex: float
    fat: float
    pathologies: list[str] = field(default_factory=list)

    def notes(self) -> dict[str, Any]:
        """Return what reports and tests want to know."""
        return {
            "lumbar_count": self.lumbar_count,
            "transitional": self.transitional,
            "pathologies": list(self.pathologies),
            "age_years": round(self.age),
            "scale": round(self.scale, 3),
            "scoliosis_deg": round(abs(self.scoliosis_deg), 1),
        }


def stream(seed: int, preset: str, *parts: int) -> np.random.Generator:
    """Return the random numbers of one purpose; presets never share a stream.

    Raises
    ------
    ValueError
        If the preset does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"there is no preset '{preset}'; known: {', '.join(PRESETS)}")
    return np.random.default_rng([7104, PRESETS.index(preset), seed, *parts])


def draw_plan(rng: np.random.Generator, lumbar_count: int | None = None) -> SpinePlan:
    """Draw the numbers of one spine; `lumbar_count` (4 to 6) is drawn, too, if it is not given."""
    drawn = int(rng.choice([4, 5, 6], p=[0.05, 0.90, 0.05]))
    count = drawn if lumbar_count is None else lumbar_count
    scale = float(np.clip(rng.normal(1.06, 0.075), 0.86, 1.26))
    age = float(rng.uniform(16, 88))
    lordosis = float(np.clip(rng.normal(1.0, 0.28), 0.25, 1.6))
    names = [f"L{n}" for n in range(count, 0, -1)] + [f"T{n}" for n in range(12, 7, -1)]
    vertebrae = [_vertebra(rng, name, index, scale, age, lordosis) for index, name in enumerate(names)]
    strong = rng.random() < 0.18
    plan = SpinePlan(
        scale=scale,
        age=age,
        lumbar_count=count,
        transitional="none",
        vertebrae=vertebrae,
        tilt_deg=float(rng.normal(0, 4)),
        sacral_curve=float(rng.uniform(0.5, 1.5)),
        scoliosis_deg=float(rng.normal(0, 9 if strong else 2.2)),
        scoliosis_phase=float(rng.uniform(0, 2 * np.pi)),
        scoliosis_period=float(rng.uniform(7, 14)),
        lean_deg=float(rng.normal(0, 2.0)),
        twist=float(rng.uniform(0.2, 0.9)),
        conus=float(np.clip(rng.normal(0.2, 0.75), -1.2, 1.9)),
        cortex=float(rng.uniform(0.7, 1.25)),
        fat=float(np.clip(rng.lognormal(0, 0.45), 0.35, 2.8)),
    )
    _transition(rng, plan)
    _pathologies(rng, plan)
    return plan


def _vertebra(
    rng: np.random.Generator, name: str, index: int, scale: float, age: float, lordosis: float
) -> VertebraPlan:
    # A fourth or sixth lumbar vertebra takes the sizes of its place above the sacrum, not of its name.
    place = [f"L{n}" for n in range(5, 0, -1)] + [f"T{n}" for n in range(12, 7, -1)]
    h, d, w, gap, pedicle, canal, disc_wedge, body_wedge = _TYPICAL[place[min(index, len(place) - 1)]]
    jitter = rng.normal(1.0, 0.035, 6)
    worn = float(np.clip((age - 15) / 80 + rng.normal(0, 0.22) + (0.14 if index < 2 else 0.0), 0, 1))
    return VertebraPlan(
        name=name,
        height=h * scale * jitter[0],
        depth=d * scale * jitter[1],
        width=w * scale * jitter[2],
        disc_height=gap * scale * jitter[3] * rng.uniform(0.88, 1.16) * (1 - 0.35 * worn * rng.random()),
        pedicle_width=pedicle * scale * jitter[4] * rng.uniform(0.85, 1.15),
        canal_width=canal * scale * jitter[5],
        disc_wedge=disc_wedge * lordosis + rng.normal(0, 1.2),
        body_wedge=body_wedge * lordosis + rng.normal(0, 0.9),
        hydration=1 - worn,
        canal_depth=float(rng.uniform(13.0, 17.5)) * scale,
        waist=float(rng.uniform(0.07, 0.19)),
        waist_front=float(rng.uniform(0.02, 0.12)),
        concavity=(float(rng.uniform(0.1, 1.7)), float(rng.uniform(0.4, 2.6))),
        boxiness=float(rng.uniform(0.25, 0.75)),
        osteophyte=float(max(0.0, rng.normal(0.2 + 1.6 * worn, 0.9))),
        bulge=float(max(0.0, rng.normal(0.3 + 1.4 * worn, 0.8))),
        side_wedge=float(rng.normal(0, 0.8)),
    )


def _transition(rng: np.random.Generator, plan: SpinePlan) -> None:
    if plan.lumbar_count != 5:
        plan.transitional = f"{plan.lumbar_count} lumbar vertebrae"
        return
    draw = rng.random()
    last = plan.vertebrae[0]
    if draw < 0.06:
        plan.transitional = "sacralised L5"
        last.disc_height *= float(rng.uniform(0.35, 0.6))
        last.disc_wedge *= 0.4
        last.body_wedge *= 0.6
        last.bulge = 0.0
    elif draw < 0.12:
        plan.transitional = "lumbarised S1"


def _pathologies(rng: np.random.Generator, plan: SpinePlan) -> None:
    found = plan.pathologies
    for index, v in enumerate(plan.vertebrae):
        if v.hydration < 0.45 and rng.random() < 0.25:
            v.disc_height *= float(rng.uniform(0.4, 0.75))
            v.bulge += float(rng.uniform(0, 1.5))
            found.append(f"narrowed disc below {v.name}")
        if index < 4 and rng.random() < 0.12 * (1.4 - v.hydration):
            v.stenosis = float(rng.uniform(0.15, 0.6))
            found.append(f"stenosis below {v.name}")
        if rng.random() < (0.05 if 2 < index < 8 else 0.015):
            v.crush = float(rng.uniform(0.1, 0.5))
            if rng.random() < 0.6:
                v.body_wedge -= float(np.degrees(v.crush * v.height / v.depth)) * 0.6
                found.append(f"wedge fracture {v.name}")
            else:
                v.concavity = (float(rng.uniform(3, 5)), float(rng.uniform(3, 6)))
                found.append(f"biconcave {v.name}")
            v.height *= 1 - 0.5 * v.crush
    if rng.random() < 0.10:
        v = plan.vertebrae[int(rng.choice([0, 1, 2], p=[0.45, 0.45, 0.10]))]
        v.slip = float(rng.uniform(2.5, 10.0) * (1 if rng.random() < 0.85 else -0.5))
        v.disc_height *= float(rng.uniform(0.45, 0.9))
        found.append(f"spondylolisthesis {v.name}")
