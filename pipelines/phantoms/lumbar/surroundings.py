"""Everything around the spine: skin, fat, walls, muscles, vessels, organs, bowel. None of it is in the truth.

Layers are height fields (a depth y for every x and z), organs are ellipsoids and tubes. Drawn first, the spine over it.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from pipelines.phantoms.lumbar.canvas import Box, Canvas, smooth_noise
from pipelines.phantoms.lumbar.chain import Spine
from pipelines.phantoms.lumbar.muscles import (
    along_z,
    in_cavity,
    paint_back_muscles,
    paint_gluteal,
    paint_psoas,
    paint_vessels,
)


def body_surfaces(spine: Spine, rng: np.random.Generator) -> tuple[float, float]:
    """Return LPS y (mm) of the back and of the belly, so that the grid can be made to fit."""
    tips = [v.body.at(0, v.plan.depth / 2 + 50 * v.plan.height / 27, -10)[1] for v in spine.vertebrae]
    fat = spine.plan.fat
    back = float(np.mean(tips)) + 10 + 9 * fat
    front = min(float(v.body.origin[1]) for v in spine.vertebrae[:4]) - rng.uniform(70, 105) - 28 * fat
    return back, front


def paint_surroundings(canvas: Canvas, spine: Spine, back: float, front: float, rng: np.random.Generator) -> None:
    """Paint all layers and organs."""
    whole = canvas.box(
        (canvas.x[0] - 1, canvas.y[0] - 1, canvas.z[-1] - 1), (canvas.x[-1] + 1, canvas.y[-1] + 1, canvas.z[0] + 1)
    )
    assert whole is not None
    surfaces = _layers(canvas, spine, whole, back, front, rng)
    _organs(canvas, spine, front, rng)
    _bowel(canvas, spine, surfaces["wall"], rng)
    _pelvic_organs(canvas, spine, rng)
    paint_back_muscles(canvas, spine, whole, surfaces["fascia"], rng)
    paint_gluteal(canvas, spine, rng)
    paint_psoas(canvas, spine, rng)
    paint_vessels(canvas, spine, rng)


def _wave(rng: np.random.Generator, t: np.ndarray, size: float, wave_mm: tuple[float, float]) -> np.ndarray:
    phase, length = rng.uniform(0, 2 * np.pi), rng.uniform(*wave_mm)
    return (size * np.sin(2 * np.pi * t / length + phase)).astype(np.float32)


def _layers(
    canvas: Canvas, spine: Spine, box: Box, back: float, front: float, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Paint skin, subcutaneous fat, walls and the cavities' fat; return the surfaces as (x, z, 1) arrays of y."""
    x, z = box.x[:, :, 0], box.z[:, :, 0]
    fat = spine.plan.fat
    chain = [s.frame.at(0, s.depth / 2 + 22, 0) for s in spine.sacrum]
    chain += [v.body.at(0, v.plan.depth / 2 + 48 * v.plan.height / 27, -8) for v in spine.vertebrae]
    tips = along_z(canvas, np.array(chain), 1)[None, :]
    kernel = np.ones(61, np.float32) / 61
    tips = np.convolve(np.pad(tips[0], 30, mode="edge"), kernel, "valid")[None, :].astype(np.float32)
    lateral = np.abs(x) / 50
    fascia = tips + 3 + 5 * np.sin(np.clip(lateral, 0, 1) * np.pi) - 7 * lateral**2
    low = 1 / (1 + np.exp((z + 10) / 25))
    under = (4 + 7 * fat) * (1 + 1.1 * low) + _wave(rng, z, 2.0, (120, 300)) + 2.0 * lateral
    # Lying on the table flattens the back, so the skin follows the spine's curve only in part.
    flat = np.float32(rng.uniform(0.2, 0.7))
    skin_back = np.maximum(fascia + under, (1 - flat) * (fascia + under) + flat * np.float32(back - 4))
    skin_back = np.minimum(skin_back, np.float32(canvas.y[-1] - 2))
    belly = _wave(rng, z, rng.uniform(2, 12), (180, 420)) + 10 * lateral**2
    skin_front = front + belly + (-10 * fat * np.exp(-(((z - 60) / 90) ** 2)))
    navel = rng.uniform(8, 20) * np.exp(-((z - rng.uniform(60, 120)) ** 2) / 60 - (x - rng.uniform(-12, 12)) ** 2 / 90)
    skin_front = (skin_front + navel).astype(np.float32)
    thick = (7 + 20 * fat * rng.uniform(0.6, 1.3)) * (1 + 0.25 * low) * (1 - 0.15 * lateral)
    muscle_front = skin_front + thick - navel * 0.5
    rectus = rng.uniform(5, 11) * np.clip(np.abs(np.abs(x) - 2) / 6, 0.25, 1) * np.clip(1.35 - lateral * 0.4, 0.5, 2)
    wall = (muscle_front + rectus + _wave(rng, z, 1.0, (60, 140))).astype(np.float32)
    skin = rng.uniform(1.2, 2.2)
    bounds = [skin_front, skin_front + skin, muscle_front, wall, fascia, fascia + 1.2, skin_back - skin, skin_back]
    names = ["skin", "subcutaneous fat", "wall muscle", "visceral fat", "fascia", "back fat", "skin", "air"]
    for bound, name in zip(bounds, names, strict=True):
        value = 0 if name == "air" else canvas.label(name)
        start = np.searchsorted(canvas.y, bound.ravel()).reshape(bound.shape)
        mask = np.arange(canvas.y.size)[None, None, :] >= start[:, :, None]
        canvas.labels[mask] = value
    _septa(canvas, box, (skin_front, muscle_front), rng)
    return {"wall": wall[:, :, None], "fascia": fascia[:, :, None].astype(np.float32)}


def _septa(canvas: Canvas, box: Box, between: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> None:
    """Paint a few fibrous septa and skin folds into the belly's fat."""
    label = canvas.label("septum")
    for _ in range(int(rng.integers(1, 4))):
        z0 = rng.uniform(float(canvas.z[-1]), float(canvas.z[0]))
        depth = rng.uniform(0.2, 0.8)
        a = between[0][:, 0].mean() + 0.5
        b = a + depth * float((between[1] - between[0]).mean())
        x0 = float(canvas.x.mean())
        for shift in (-30, 0, 30):
            start, end = np.array([x0 + shift, a, z0]), np.array([x0 + shift, b, z0 + rng.normal(0, 8)])
            shape = canvas.capsule(start, end, rng.uniform(0.5, 1.3), (np.array([1.0, 0, 0]), 25.0))
            if shape is not None:
                canvas.paint(shape[0], shape[1] < 0, label)


def _organs(canvas: Canvas, spine: Spine, front: float, rng: np.random.Generator) -> None:
    """Paint liver, spleen or stomach, kidneys and the lungs' lower edge."""
    by_name = {v.plan.name: v.body for v in spine.vertebrae}
    top, mid = by_name["T11"].origin, by_name["L2"].origin
    s = spine.plan.scale
    liver = np.array([-62.0, (front + top[1]) / 2 - 5, top[2] + rng.uniform(-15, 30)])
    stomach = np.array([52.0, (front + top[1]) / 2 + 8, top[2] + rng.uniform(-25, 20)])
    _solid(canvas, liver, np.array([82, 75, 78]) * s * rng.uniform(0.9, 1.15, 3), [("liver", 1.0)])
    _solid(
        canvas,
        stomach,
        np.array([42, 38, 50]) * s * rng.uniform(0.7, 1.2, 3),
        [("bowel wall", 1.0), ("bowel content", 0.9)],
    )
    for side in (-1.0, 1.0):
        lung = np.array([side * 68, top[1] + 18, top[2] + rng.uniform(40, 75)])
        _solid(canvas, lung, np.array([38, 62, 62]) * s, [("wall muscle", 1.0), ("lung", 0.95)])
        at = mid + np.array([side * rng.uniform(50, 62), rng.uniform(-8, 12), rng.uniform(-8, 28)])
        tilt = side * rng.uniform(0.1, 0.3)
        turn = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
        radii = np.array([24, 27, 53]) * s * rng.uniform(0.9, 1.1)
        _solid(canvas, at, radii, [("kidney", 1.0), ("kidney medulla", 0.75), ("visceral fat", 0.4)], turn)
        if rng.random() < 0.25:
            _solid(canvas, at + rng.normal(0, 15, 3), np.full(3, rng.uniform(4, 12)), [("cyst", 1.0)])
    if rng.random() < 0.5:
        pancreas = by_name["L1"].origin + np.array([rng.uniform(-10, 20), -45, rng.uniform(-10, 15)])
        _solid(canvas, pancreas, np.array([45, 11, 13]) * s, [("liver", 1.0)])


def _solid(
    canvas: Canvas,
    centre: np.ndarray,
    radii: np.ndarray,
    shells: list[tuple[str, float]],
    turn: np.ndarray | None = None,
) -> None:
    """Paint nested ellipsoids, inside the abdominal cavity (its fat and what was painted into it) only."""
    shape = canvas.ellipsoid(centre, radii, turn)
    if shape is None:
        return
    box, radius = shape
    inside = in_cavity(canvas, box)
    for tissue, share in shells:
        canvas.paint(box, (radius < share) & inside, canvas.label(tissue))


def _bowel(canvas: Canvas, spine: Spine, wall: np.ndarray, rng: np.random.Generator) -> None:
    """Paint loops of bowel: rings of wall around gas, fluid or stool, and mesenteric vessels between them."""
    walls = [canvas.label("bowel wall") for _ in range(3)]
    contents = [canvas.label("bowel content") for _ in range(9)]
    vessels = [canvas.label("vessel") for _ in range(2)]
    line = spine.line()
    front_y = float(wall.mean())
    _mesentery(canvas, spine, front_y, rng)
    for _ in range(int(rng.integers(30, 110))):
        z = rng.uniform(float(canvas.z[-1]), float(canvas.z[0]) - 40)
        back_y = float(np.interp(z, line[:, 2], line[:, 1])) - 28
        if back_y < front_y + 10:
            continue
        at = np.array([rng.uniform(canvas.x[0], canvas.x[-1]), rng.uniform(front_y + 6, back_y - 8), z])
        way = rng.normal(0, 1, 3)
        end = at + way / np.linalg.norm(way) * rng.uniform(0, 55)
        end[1] = np.clip(end[1], front_y + 8, back_y - 8)
        radius = rng.uniform(6, 17)
        shape = canvas.capsule(at, end, radius)
        if shape is None:
            continue
        box, distance = shape
        inside = in_cavity(canvas, box)
        distance += np.float32(0.12 * radius) * smooth_noise(rng, box, (11.0, 9.0, 9.0))
        canvas.paint(box, (distance < 0) & inside, int(rng.choice(walls)))
        canvas.paint(box, (distance < -rng.uniform(0.8, 2.6)) & inside, int(rng.choice(contents)))
    for _ in range(int(rng.integers(20, 50))):
        z = rng.uniform(float(canvas.z[-1]), float(canvas.z[0]))
        at = np.array([rng.uniform(canvas.x[0], canvas.x[-1]), rng.uniform(front_y, 0), z])
        shape = canvas.capsule(at, at + rng.normal(0, 14, 3), rng.uniform(0.7, 2.4))
        if shape is not None:
            canvas.paint(shape[0], (shape[1] < 0) & in_cavity(canvas, shape[0]), int(rng.choice(vessels)))


def _mesentery(canvas: Canvas, spine: Spine, front_y: float, rng: np.random.Generator) -> None:
    """Paint folds of mesentery: wavy sheets of intermediate signal in the abdominal fat."""
    box = canvas.box((canvas.x[0] - 1, front_y, canvas.z[-1] - 1), (canvas.x[-1] + 1, 25.0, canvas.z[0] + 1))
    if box is None:
        return
    inside = in_cavity(canvas, box)
    for _ in range(2):
        folds = smooth_noise(rng, box, (22.0, 40.0, 9.0)) + 0.5 * smooth_noise(rng, box, (9.0, 14.0, 6.0))
        canvas.paint(box, inside & (folds > rng.uniform(0.2, 1.6)), canvas.label("mesentery"))
        canvas.paint(box, inside & (np.abs(folds) < rng.uniform(0.02, 0.10)), canvas.label("mesentery"))


def _pelvic_organs(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint bladder, uterus or prostate, rectum and sigmoid in front of the sacrum."""
    s = spine.plan.scale
    low = spine.sacrum[3].frame.origin
    fill = rng.uniform(0.5, 1.25)
    bladder = low + np.array([rng.uniform(-8, 8), -rng.uniform(75, 105), rng.uniform(-25, 12)])
    _solid(canvas, bladder, np.array([42, 32, 30]) * s * fill, [("bowel wall", 1.0), ("bladder", 0.93)])
    if rng.random() < 0.5:
        at = low + np.array([rng.uniform(-8, 8), -rng.uniform(42, 62), rng.uniform(-12, 12)])
        _solid(canvas, at, np.array([26, 19, 33]) * s, [("uterus", 1.0), ("bladder", 0.25)])
    rectum = [g.frame.at(rng.uniform(-8, 8), -g.depth / 2 - rng.uniform(16, 24), 0) for g in spine.sacrum[1:]]
    rectum.insert(0, rectum[0] + np.array([rng.uniform(-30, 45), -rng.uniform(5, 30), rng.uniform(5, 25)]))
    outer, inner = canvas.label("bowel wall"), canvas.label("bowel content")
    radius = rng.uniform(8, 17)
    for share, label in ((1.0, outer), (0.82, inner)):
        for a, b in pairwise(rectum):
            shape = canvas.capsule(a, b, radius * share)
            if shape is not None:
                canvas.paint(shape[0], (shape[1] < 0) & in_cavity(canvas, shape[0]), label)
