"""Sacrum and what joins it: fused bodies, remnant discs, lateral masses with foramina, sacral crest, iliac bones.

Bodies, remnant discs and lateral masses are one structure of the truth, the sacrum, named S1; crest and ilium are none.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from pipelines.phantoms.lumbar.bodies import body_distance
from pipelines.phantoms.lumbar.canvas import Canvas, Frame, capsule_distance, smooth_noise
from pipelines.phantoms.lumbar.chain import SacralSegment, Spine
from pipelines.phantoms.lumbar.patient import SACRUM
from pipelines.phantoms.lumbar.plan import VertebraPlan

_OUT = 40.0


def paint_pelvis(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint ilium, sacral lateral masses, sacral bodies, remnant discs, crest and sacral foramina, in this order."""
    value = canvas.instance(SACRUM, "S1")
    cortex = canvas.label("cortex")
    _ilium(canvas, spine, cortex, rng)
    marrow = canvas.label("sacral marrow")
    _lateral_masses(canvas, spine, value, cortex, marrow, rng)
    gap = canvas.label("remnant disc", float(rng.uniform(0, 0.8)))
    _remnants(canvas, spine, value, gap, rng)
    for number, segment in enumerate(spine.sacrum):
        _segment(canvas, spine, number, segment, value, cortex, marrow, rng)
    _crest(canvas, spine, cortex, rng)
    _holes(canvas, spine, rng)


def _as_body(spine: Spine, number: int, segment: SacralSegment, rng: np.random.Generator) -> VertebraPlan:
    gap = 1.2 if number else 0.4
    if number == 1 and spine.plan.transitional == "lumbarised S1":
        gap = 3.5
    return VertebraPlan(
        name=f"S{number + 1}", height=segment.height - 2 * gap * 0.7, depth=segment.depth, width=segment.width,
        disc_height=gap, pedicle_width=10, canal_width=20, disc_wedge=0, body_wedge=-2.0 if number else 3.0,
        hydration=0.3, canal_depth=10, waist=0.03, waist_front=float(rng.uniform(0.03, 0.12)),
        concavity=(0.5, 0.4), boxiness=0.4,
    )  # fmt: skip


def _segment(
    canvas: Canvas, spine: Spine, number: int, segment: SacralSegment, value: int, cortex: int, marrow: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    following = spine.sacrum[number + 1].depth if number + 1 < len(spine.sacrum) else segment.depth * 0.8
    plan = _as_body(spine, number, segment, rng)
    mean_depth = (segment.depth + following) / 2
    taper = float(np.clip((following - segment.depth) / (segment.depth + following), -0.25, 0))
    box = canvas.frame_box(segment.frame, (-40, -32, -segment.height), (40, 32, segment.height))
    if box is None:
        return
    u, v, w = box.local(segment.frame)
    plan.depth = mean_depth
    # The back walls of the fused bodies are in line; the thinner lower end therefore lies further back.
    shift = np.float32((segment.depth - mean_depth) / 2)
    distance = body_distance(box, u, v - shift * (1 - w / np.float32(segment.height / 2)) * 0.5, w, plan, taper)
    distance += np.float32(0.3) * smooth_noise(rng, box, (9.0, 7.0, 7.0))
    # Towards the lateral masses the cortex of the bodies is open: marrow runs through.
    open_side = (np.abs(u) > 0.33 * plan.width) & (w > -0.3 * segment.height)
    free = ~_other_truth(canvas, box.index, value)
    canvas.paint(box, (distance < 0) & ~open_side & free, cortex)
    canvas.mark(box, (distance < -0.45) & free, value)
    canvas.paint(box, (distance < -0.9) & free, marrow, value)
    if rng.random() < 0.4:
        patch = (smooth_noise(rng, box, (8.0, 7.0, 7.0)) > 1.3) & (distance < -0.9) & free
        canvas.paint(box, patch, canvas.label("marrow island"), value)


def _other_truth(canvas: Canvas, index: tuple[slice, slice, slice], value: int) -> np.ndarray:
    here = canvas.instances[index]
    return (here != 0) & (here != value)


def _remnants(canvas: Canvas, spine: Spine, value: int, label: int, rng: np.random.Generator) -> None:
    """Paint the remnant discs; what lies between two fused bodies is sacrum, too."""
    for number, (upper, lower) in enumerate(zip(spine.sacrum, spine.sacrum[1:], strict=False)):
        wide = spine.plan.transitional == "lumbarised S1" and number == 0
        thick = rng.uniform(3, 4.5) if wide else rng.uniform(0.6, 2.0)
        centre = (upper.frame.at(0, 0, -upper.height / 2) + lower.frame.at(0, 0, lower.height / 2)) / 2
        radii = (lower.width * (0.48 if wide else rng.uniform(0.25, 0.42)), lower.depth * 0.46, thick)
        joint = canvas.frame_box(Frame(centre, lower.frame.axes), (-40, -30, -5), (40, 30, 5))
        if joint is not None:
            u, v, w = joint.local(Frame(centre, lower.frame.axes))
            round4 = (u / np.float32(lower.width * 0.48)) ** 4 + (v / np.float32(lower.depth * 0.49)) ** 4
            canvas.mark(joint, (round4 < 1) & (np.abs(w) < 4) & ~_other_truth(canvas, joint.index, value), value)
        shape = canvas.ellipsoid(centre, radii, lower.frame.axes)
        if shape is not None:
            canvas.paint(shape[0], (shape[1] < 1) & ~_other_truth(canvas, shape[0].index, value), label, value)


def _lateral_masses(
    canvas: Canvas, spine: Spine, value: int, cortex: int, marrow: int, rng: np.random.Generator
) -> None:
    """Paint the wings of the sacrum: capsules from its upper three bodies outwards, melted into one mass per side."""
    scale = spine.plan.scale
    reach = (_OUT + rng.uniform(2, 10), 40.0, 30.0)
    for s in (-1.0, 1.0):
        rods = []
        for segment, far, radius in zip(spine.sacrum, reach, (13.5, 12.0, 9.5), strict=False):
            a = segment.frame.at(s * segment.width * 0.30, segment.depth * 0.10, segment.height * 0.05)
            b = segment.frame.at(s * far * scale, segment.depth * 0.12 + 9 * scale, -segment.height * 0.10)
            rods.append((a, b, radius * scale * rng.uniform(0.92, 1.08)))
        # The outer ends are joined too: a wing is one mass, not a row of fingers.
        ends = [rod[1] for rod in rods]
        rods += [(a, b, rng.uniform(9.5, 12.0) * scale) for a, b in pairwise(ends)]
        box = canvas.around([end for rod in rods for end in rod[:2]], 18 * scale)
        if box is None:
            continue
        melted = np.zeros(box.shape, np.float32)
        for a, b, radius in rods:
            melted += np.exp(np.float32(-0.3) * np.clip(capsule_distance(box, a, b) - np.float32(radius), -30, 60))
        distance = np.log(melted) / np.float32(-0.3)
        distance += np.float32(0.5) * smooth_noise(rng, box, (14.0, 12.0, 12.0))
        free = ~_other_truth(canvas, box.index, value)
        canvas.paint(box, (distance < 0) & free, cortex)
        canvas.mark(box, (distance < -0.5) & free, value)
        canvas.paint(box, (distance < -1.0) & free, marrow, value)


def _ilium(canvas: Canvas, spine: Spine, cortex: int, rng: np.random.Generator) -> None:
    """Paint the posterior ilium: a plate lateral of and behind the lateral masses, its crest reaching L4/L5."""
    first = spine.sacrum[0].frame
    scale = spine.plan.scale
    marrow = canvas.label("iliac marrow")
    spread = rng.uniform(-4, 6)
    for s in (-1.0, 1.0):
        across = np.array([s, 1.0, 1.0]) * scale
        spots = [
            first.origin + np.array(p) * across
            for p in (
                (60 + spread, -28, 34), (62 + spread, -2, 42), (53 + spread, 22, 22),
                (44 + spread, 48, -12), (47 + spread, 44, -38), (62 + spread, 4, -42),
            )
        ]  # fmt: skip
        box = canvas.around(spots, 16)
        if box is None:
            continue
        melted = np.zeros(box.shape, np.float32)
        for a, b in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (0, 5), (2, 5), (1, 5)):
            near = capsule_distance(box, spots[a], spots[b]) - np.float32(rng.uniform(6, 8.5) * scale)
            melted += np.exp(np.float32(-0.3) * np.clip(near, -30, 60))
        distance = np.log(melted) / np.float32(-0.3)
        canvas.paint(box, distance < 0, cortex)
        canvas.paint(box, distance < -1.2, marrow)


def _crest(canvas: Canvas, spine: Spine, cortex: int, rng: np.random.Generator) -> None:
    marrow = canvas.label("posterior marrow")
    back = spine.vertebrae[0].plan.canal_depth
    shares = (1.25, 0.95, 0.7, 0.5, 0.4)
    points = [s.frame.at(0, s.depth / 2 + 3 + back * share, 0) for s, share in zip(spine.sacrum, shares, strict=True)]
    for a, b in pairwise(points):
        for radius, label in ((rng.uniform(3.2, 4.5), cortex), (2.4, marrow)):
            shape = canvas.capsule(a, b, radius, (np.array([1.0, 0, 0]), 3.0))
            if shape is not None:
                canvas.paint(shape[0], (shape[1] < 0) & (canvas.instances[shape[0].index] == 0), label)
        spine_tip = a + (b - a) * 0.5 + spine.sacrum[0].frame.axes[1] * rng.uniform(3, 9)
        shape = canvas.capsule((a + b) / 2, spine_tip, 2.6, (spine.sacrum[0].frame.axes[2], 2.0))
        if shape is not None:
            canvas.paint(shape[0], (shape[1] < 0) & (canvas.instances[shape[0].index] == 0), cortex)


def _holes(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint the sacral foramina: channels of fat with a root through the lateral masses."""
    fat, nerve = canvas.label("foraminal fat"), canvas.label("nerve")
    for upper, lower in zip(spine.sacrum[:3], spine.sacrum[1:4], strict=True):
        for s in (-1.0, 1.0):
            at = lower.frame.at(s * lower.width * 0.55, 0, lower.height / 2)
            front, back = at - upper.frame.axes[1] * 14, at + upper.frame.axes[1] * 16
            for radius, label in ((rng.uniform(3.8, 5.8), fat), (rng.uniform(1.8, 2.8), nerve)):
                shape = canvas.capsule(front, back, radius)
                if shape is not None:
                    bone = canvas.holds(shape[0], SACRUM) | (canvas.labels[shape[0].index] == fat)
                    canvas.paint(shape[0], (shape[1] < 0) & bone, label)
