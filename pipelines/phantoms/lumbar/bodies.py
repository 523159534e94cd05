"""Vertebral bodies and discs: true 3-D shapes with waists, concave end plates, cortical rims, and what ails them.

A body is a flattened column whose outline narrows at mid-height; its cortex is a thin dark shell, half of which counts
as body in the truth (as readers outline it). A disc fills the room between two end plates; its dark outermost fibres
do not count, so that truth is not wider than what is seen as disc.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.lumbar.canvas import Box, Canvas, rounded_max, smooth_noise
from pipelines.phantoms.lumbar.chain import Spine, Vertebra
from pipelines.phantoms.lumbar.patient import BODY, DISC
from pipelines.phantoms.lumbar.plan import VertebraPlan

_CORNER_MM = 2.0


@dataclass(frozen=True)
class Common:
    """Fine labels that all levels share."""

    cortex: int
    ligament: int
    annulus_rim: int
    vein: int


def common_labels(canvas: Canvas) -> Common:
    """Register the shared labels."""
    return Common(*(canvas.label(t) for t in ("cortex", "ligament", "ligament", "basivertebral vein")))


def paint_bodies_and_discs(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> Common:
    """Paint all discs, then all bodies over them, then what grows into them (Schmorl's nodes)."""
    common = common_labels(canvas)
    names = ["S1"] + [v.plan.name for v in spine.vertebrae]
    for below, vertebra in zip(names, spine.vertebrae, strict=False):
        paint_disc(canvas, vertebra, canvas.instance(DISC, f"{vertebra.plan.name}/{below}"), common, rng)
    for vertebra in spine.vertebrae:
        _paint_body(canvas, vertebra, common, rng, spine.plan.cortex)
    _schmorl(canvas, spine, rng)
    return common


def body_distance(
    box: Box, u: np.ndarray, v: np.ndarray, w: np.ndarray, plan: VertebraPlan, taper: float = 0.0
) -> np.ndarray:
    """Return the signed distance (mm) to the surface of a body, inside negative.

    Parameters
    ----------
    u, v, w : lateral, posterior and up coordinates in the body's frame, mm.
    taper : relative widening of the lower end against the upper one.
    """
    half = np.float32(plan.height / 2)
    level = np.clip(w / half, -1, 1)
    narrow = 1 - level * level
    grow = 1 - np.float32(taper) * level
    width = np.float32(plan.width / 2) * grow * (1 - np.float32(plan.waist) * narrow)
    depth = np.float32(plan.depth * 0.535) * grow * (1 - np.float32(plan.waist_front) * narrow)
    if plan.osteophyte > 0.5:
        depth = depth + np.float32(plan.osteophyte * 1.2) * level**6
        width = width + np.float32(plan.osteophyte) * level**6
    a2 = (u / width) ** 2
    b2 = ((v - np.float32(plan.depth * 0.035)) / depth) ** 2
    mix = np.float32(plan.boxiness)
    radius = (1 - mix) * np.sqrt(a2 + b2) + mix * np.sqrt(np.sqrt(a2 * a2 + b2 * b2))
    side = (radius - 1) * np.float32(0.48 * plan.depth)
    back = np.float32(plan.depth / 2 - 0.4) - np.float32(1.2) * narrow - np.float32(1.4) * np.clip(1 - 4 * a2, 0, 1)
    side = np.maximum(side, v - back)
    slope = np.float32(np.tan(np.radians(plan.body_wedge) / 2))
    tilt = np.float32(np.tan(np.radians(plan.side_wedge) / 2))
    rise = half - v * slope + u * tilt
    dish = np.clip(1 - (radius / np.float32(0.86)) ** 2, 0, 1)
    top = w - (rise - np.float32(plan.concavity[0]) * dish)
    bottom = -w - (rise - np.float32(plan.concavity[1]) * dish)
    return rounded_max(side, np.maximum(top, bottom), _CORNER_MM)


def _paint_body(canvas: Canvas, vertebra: Vertebra, common: Common, rng: np.random.Generator, cortex: float) -> None:
    plan = vertebra.plan
    reach = np.array([plan.width / 2 + 5, plan.depth / 2 + 6, plan.height / 2 + 5])
    box = canvas.frame_box(vertebra.body, -reach, reach)
    instance = canvas.instance(BODY, plan.name)
    if box is None:
        return
    u, v, w = box.local(vertebra.body)
    distance = body_distance(box, u, v, w, plan)
    distance += np.float32(rng.uniform(0.1, 0.4)) * smooth_noise(rng, box, (9.0, 7.0, 7.0))
    canvas.paint(box, (distance < 0.8) & (np.abs(v) > 0.3 * plan.depth), common.ligament)
    canvas.paint(box, distance < 0, common.cortex)
    canvas.mark(box, distance < -cortex / 2, instance)
    marrow = distance < -cortex
    canvas.paint(box, marrow, canvas.label("marrow"), instance)
    _marrow_changes(canvas, box, marrow, (u, v, w), plan, instance, rng)
    _vein(canvas, box, marrow, (u, v, w), plan, instance, common, rng)


def _marrow_changes(
    canvas: Canvas,
    box: Box,
    marrow: np.ndarray,
    local: tuple[np.ndarray, np.ndarray, np.ndarray],
    plan: VertebraPlan,
    instance: int,
    rng: np.random.Generator,
) -> None:
    """Paint end-plate (Modic-like) changes, haemangiomas and fatty islands; all of it stays vertebral body."""
    u, v, w = local
    if rng.random() < 0.5:
        patchy = smooth_noise(rng, box, (7.0, 6.0, 6.0)) > rng.uniform(1.0, 1.8)
        canvas.paint(box, marrow & patchy, canvas.label("marrow island"), instance)
    for sign in (-1.0, 1.0):
        if rng.random() > 0.10 + 0.25 * (1 - plan.hydration):
            continue
        depth = rng.uniform(2, 10)
        centre, spread = rng.uniform(-0.4, 0.4) * plan.depth, rng.uniform(0.25, 0.9) * plan.depth
        across = rng.uniform(-0.3, 0.3) * plan.width
        falloff = np.clip(1 - ((v - centre) / spread) ** 2 - ((u - across) / (1.4 * spread)) ** 2, 0, 1)
        zone = marrow & (sign * w > plan.height / 2 - depth * falloff - 1)
        canvas.paint(box, zone, canvas.label("end-plate change"), instance)
    if rng.random() < 0.06:
        middle = rng.uniform(-0.3, 0.3, 3) * np.array([plan.width, plan.depth, plan.height])
        r = rng.uniform(4, 11)
        ball = (u - middle[0]) ** 2 + (v - middle[1]) ** 2 + (w - middle[2]) ** 2 < r * r
        canvas.paint(box, marrow & ball, canvas.label("haemangioma"), instance)


def _vein(
    canvas: Canvas,
    box: Box,
    marrow: np.ndarray,
    local: tuple[np.ndarray, np.ndarray, np.ndarray],
    plan: VertebraPlan,
    instance: int,
    common: Common,
    rng: np.random.Generator,
) -> None:
    """Paint the basivertebral vein: a flat wedge from the middle of the posterior wall forwards."""
    u, v, w = local
    length = rng.uniform(0.15, 0.6) * plan.depth
    into = (plan.depth / 2 - v) / np.float32(length)
    thick = rng.uniform(0.8, 2.4) * np.clip(1 - into, 0, 1)
    wedge = (np.abs(w) < thick) & (np.abs(u) < rng.uniform(2, 6) * (1 + into)) & (into < 1)
    canvas.paint(box, marrow & wedge, common.vein, instance)


def paint_disc(canvas: Canvas, vertebra: Vertebra, instance: int, common: Common, rng: np.random.Generator) -> None:
    """Paint one disc: dark rim, annulus, nucleus and cleft; the bodies painted later cut it to shape."""
    plan = vertebra.plan
    reach = np.array([plan.width / 2 + 6, plan.depth / 2 + 9, vertebra.disc_half + 7])
    box = canvas.frame_box(vertebra.disc, -reach, reach)
    if box is None:
        return
    u, v, w = box.local(vertebra.disc)
    width, depth = plan.width / 2 * rng.uniform(0.93, 1.0), plan.depth * 0.535 * rng.uniform(0.96, 1.02)
    a2, b2 = (u / np.float32(width)) ** 2, ((v - np.float32(plan.depth * 0.03)) / np.float32(depth)) ** 2
    mix = np.float32(plan.boxiness)
    radius = (1 - mix) * np.sqrt(a2 + b2) + mix * np.sqrt(np.sqrt(a2 * a2 + b2 * b2))
    room = np.maximum(np.float32(vertebra.disc_half) - v * np.float32(np.tan(vertebra.disc_tilt)), np.float32(0.5))
    side = (radius - 1) * np.float32(0.48 * plan.depth) - np.float32(plan.bulge * 0.6) * np.clip(
        1 - (w / room) ** 2, 0, 1
    )
    back = np.float32(plan.depth / 2 + plan.bulge - 1.0) - np.float32(1.2) * np.clip(1 - 4 * a2, 0, 1)
    side = np.maximum(side, v - back)
    side += np.float32(rng.uniform(0.1, 0.35)) * smooth_noise(rng, box, (8.0, 6.0, 6.0))
    dish = np.clip(1 - radius * radius, 0, 1)
    flat = np.abs(w) - (room + np.float32(4.5) * dish + np.float32(0.3))
    distance = rounded_max(side, flat, 1.0)
    outside = np.abs(w) < room + 3.0
    canvas.paint(box, (side < 0.8) & outside, common.annulus_rim)
    edge = rng.uniform(0.6, 1.8)
    canvas.paint(box, distance < -edge, canvas.label("annulus", plan.hydration), instance)
    # The nucleus is a lens a little behind the middle; an inner annulus leads over to it.
    inner, flatness = rng.uniform(0.5, 0.85), rng.uniform(0.75, 1.1)
    across = a2 + ((v - np.float32(rng.uniform(-0.5, 2.5))) / np.float32(depth)) ** 2
    lens = np.sqrt(across / np.float32(inner**2) + (w / ((room + 2.0) * np.float32(flatness))) ** 4)
    lens += np.float32(rng.uniform(0.03, 0.10)) * smooth_noise(rng, box, (6.0, 3.0, 5.0))
    core = distance < -edge
    canvas.paint(box, core & (lens < 1.18), canvas.label("inner annulus", plan.hydration), instance)
    canvas.paint(box, core & (lens < 1.0), canvas.label("nucleus", plan.hydration), instance)
    canvas.paint(box, core & (lens < 0.62), canvas.label("nucleus", plan.hydration), instance)
    if plan.hydration > 0.35 and rng.random() < 0.35:
        cleft = core & (np.abs(w + rng.uniform(-0.6, 0.6)) < rng.uniform(0.4, 0.8)) & (lens < 0.7)
        canvas.paint(box, cleft, canvas.label("cleft", plan.hydration), instance)
    _fissures(canvas, box, distance, v, w, plan, instance, rng)


def _fissures(
    canvas: Canvas,
    box: Box,
    distance: np.ndarray,
    v: np.ndarray,
    w: np.ndarray,
    plan: VertebraPlan,
    instance: int,
    rng: np.random.Generator,
) -> None:
    """Paint a bright fissure in the posterior annulus or a vacuum in a worn disc."""
    if plan.hydration < 0.6 and rng.random() < 0.2:
        spot = (distance < -0.8) & (np.abs(v - plan.depth / 2 + rng.uniform(1, 3)) < 1.3) & (np.abs(w) < 1.6)
        canvas.paint(box, spot, canvas.label("fissure"), instance)
    if plan.hydration < 0.35 and rng.random() < 0.25:
        gas = (distance < -2.0) & (np.abs(w) < 1.0) & (np.abs(v) < rng.uniform(4, 10))
        canvas.paint(box, gas, canvas.label("vacuum"), instance)


def _schmorl(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint Schmorl's nodes: disc material in an end plate, part of that disc in the truth."""
    values = {i.level: n + 1 for n, i in enumerate(canvas.table) if i.structure == DISC}
    names = ["S1"] + [v.plan.name for v in spine.vertebrae]
    for index, vertebra in enumerate(spine.vertebrae):
        for sign in (-1.0, 1.0):
            if rng.random() > 0.06 or (sign > 0 and index + 1 == len(spine.vertebrae)):
                continue
            plan = vertebra.plan
            where = (rng.uniform(-0.25, 0.25) * plan.width, rng.uniform(-0.25, 0.25) * plan.depth)
            centre = vertebra.body.at(*where, sign * plan.height / 2)
            shape = canvas.ellipsoid(centre, rng.uniform((3, 3, 2.5), (7, 7, 6.0)))
            if shape is None:
                continue
            box, radius = shape
            pair = (plan.name, names[index]) if sign < 0 else (names[index + 2], plan.name)
            _, _, w = box.local(vertebra.body)
            inside = (sign * w < plan.height / 2) & (sign * w > 0)
            canvas.paint(box, (radius < 1) & inside, canvas.label("schmorl rim"))
            value = values["/".join(pair)]
            canvas.paint(box, (radius < 0.8) & inside, canvas.label("schmorl", plan.hydration), value)
            spine.plan.pathologies.append(f"Schmorl's node {plan.name} {'upper' if sign > 0 else 'lower'} end plate")
