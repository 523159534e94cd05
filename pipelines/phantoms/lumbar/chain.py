"""Places a planned spine in space: from the S1 end plate at the origin upwards, and the sacrum downwards.

The end plate of S1 has its centre at (0, 0, 0). Tilt is the angle of a segment's own up axis from the vertical towards
anterior; every disc and body turns it by its wedge (lordosis). Scoliosis turns it sideways and twists it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.lumbar.canvas import Frame
from pipelines.phantoms.lumbar.plan import SpinePlan, VertebraPlan


@dataclass(frozen=True)
class Vertebra:
    """A vertebra in space: frame at the centre of its body, frame of the disc below, and its plan."""

    plan: VertebraPlan
    body: Frame
    disc: Frame
    disc_half: float
    disc_tilt: float


@dataclass(frozen=True)
class SacralSegment:
    """A sacral segment in space; sizes at its upper end in mm."""

    frame: Frame
    height: float
    depth: float
    width: float


@dataclass(frozen=True)
class Spine:
    """Everything that has a place: vertebrae from the last lumbar one upwards, sacrum from S1 downwards."""

    plan: SpinePlan
    vertebrae: tuple[Vertebra, ...]
    sacrum: tuple[SacralSegment, ...]

    def line(self) -> np.ndarray:
        """Return the LPS centres of the bodies from the S1 end plate upwards, (n, 3)."""
        return np.array([[0.0, 0.0, 0.0], *[v.body.origin for v in self.vertebrae]])


def axes_of(tilt: float, side: float, twist: float) -> np.ndarray:
    """Return the axes (lateral, posterior, up) for a tilt to anterior, a tilt to the left and a twist, radians."""
    up = np.array([np.sin(side), -np.sin(tilt) * np.cos(side), np.cos(tilt) * np.cos(side)])
    lateral = np.array([np.cos(twist), np.sin(twist), 0.0])
    lateral -= up * (lateral @ up)
    lateral /= np.linalg.norm(lateral)
    posterior = np.cross(up, lateral)
    return np.array([lateral, posterior, up])


def place(plan: SpinePlan) -> Spine:
    """Return the spine of a plan with its S1 end plate at the origin."""
    tilt = _sacral_tilt(plan)
    start = tilt
    position = np.zeros(3)
    vertebrae = []
    for index, v in enumerate(plan.vertebrae):
        side, twist = _side(plan, index)
        disc_turn, body_turn = np.radians(v.disc_wedge), np.radians(v.body_wedge)
        disc_axes = axes_of(tilt - disc_turn / 2, side, twist)
        disc = Frame(position + disc_axes[2] * v.disc_height / 2, disc_axes)
        tilt -= disc_turn
        position = position + disc_axes[2] * v.disc_height - disc_axes[1] * v.slip
        body_axes = axes_of(tilt - body_turn / 2, side, twist)
        body = Frame(position + body_axes[2] * v.height / 2, body_axes)
        tilt -= body_turn
        position = position + body_axes[2] * v.height
        vertebrae.append(Vertebra(v, body, disc, v.disc_height / 2, disc_turn / 2))
    return Spine(plan, tuple(vertebrae), _sacrum(plan, start))


def _sacral_tilt(plan: SpinePlan) -> float:
    """Tilt of the S1 end plate such that the lumbar bodies are upright on average, give or take the plan's tilt."""
    turned, seen = 0.0, []
    for v in plan.vertebrae[: plan.lumbar_count]:
        turned += v.disc_wedge
        seen.append(turned + v.body_wedge / 2)
        turned += v.body_wedge
    return float(np.radians(np.mean(seen) + plan.tilt_deg))


def _side(plan: SpinePlan, index: float) -> tuple[float, float]:
    phase = 2 * np.pi * index / plan.scoliosis_period + plan.scoliosis_phase
    side = np.radians(plan.scoliosis_deg * np.sin(phase) + plan.lean_deg)
    return float(side), float(-plan.twist * np.radians(plan.scoliosis_deg) * np.cos(phase))


def _sacrum(plan: SpinePlan, tilt: float) -> tuple[SacralSegment, ...]:
    scale, lowest = plan.scale, plan.vertebrae[0]
    bend = plan.sacral_curve
    turns = np.radians(np.array([4.0, 10.0 * bend, 8.0 * bend - 4, -12.0 * bend, -25.0 * bend]))
    heights = np.array([28.0, 23.0, 19.0, 17.0, 15.0]) * scale
    depths = np.array([lowest.depth * 0.97, 23 * scale, 17 * scale, 13 * scale, 10 * scale])
    widths = np.array([lowest.width, 38 * scale, 31 * scale, 27 * scale, 22 * scale])
    side, twist = _side(plan, 0)
    position = np.zeros(3)
    out = []
    for turn, height, depth, width in zip(turns, heights, depths, widths, strict=True):
        axes = axes_of(tilt + turn / 2, side, twist)
        tilt += turn
        out.append(SacralSegment(Frame(position - axes[2] * height / 2, axes), height, depth, width))
        position = position - axes[2] * height
    return tuple(out)
