"""Muscles and vessels along the spine: psoas, quadratus, crura, the back's extensors with their fat, aorta and cava.

Drawn before the spine, which is painted over them; none of it is in the truth.
"""

from __future__ import annotations

import numpy as np

from pipelines.phantoms.lumbar.canvas import Box, Canvas, smooth_noise
from pipelines.phantoms.lumbar.chain import Spine


def along_z(canvas: Canvas, points: np.ndarray, axis: int) -> np.ndarray:
    """Return one coordinate of a chain of LPS points at every row of the canvas (float32), held at its ends."""
    order = np.argsort(points[:, 2])
    return np.interp(canvas.z, points[order, 2], points[order, axis]).astype(np.float32)


def in_cavity(canvas: Canvas, box: Box) -> np.ndarray:
    """Return where the box holds abdominal contents: neither air nor walls."""
    return _lacks(canvas, box, ("air", "skin", "subcutaneous fat", "wall muscle", "septum", "back fat", "fascia"))


def _lacks(canvas: Canvas, box: Box, tissues: tuple[str, ...]) -> np.ndarray:
    """Return where the box holds none of the tissues."""
    free = np.array([tissue not in tissues for tissue in canvas.tissues])
    return free[canvas.labels[box.index]]


def paint_psoas(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint psoas and, lateral of it, quadratus lumborum: spindles along the sides of the lumbar bodies."""
    label = canvas.label("psoas")
    bulk = rng.uniform(0.75, 1.2) * spine.plan.scale
    lumbar = [v for v in spine.vertebrae if not v.plan.rib][::-1]
    for side in (-1.0, 1.0):
        points, radii = [], []
        for rank, v in enumerate(lumbar):
            t = rank / max(1, len(lumbar) - 1)
            radius = (7.0 + 11.0 * t) * bulk
            points.append(v.body.at(side * (v.plan.width * 0.47 + radius * 0.62), v.plan.depth * (0.24 - 0.26 * t), 0))
            radii.append(radius)
        points.append(points[-1] + np.array([side * 14, -16, -48.0]))
        radii.append(radii[-1] * 1.05)
        points.append(points[-1] + np.array([side * 12, -22, -60.0]))
        radii.append(radii[-1])
        _tube(canvas, np.array(points), np.array(radii), label, deeper=rng.uniform(1.1, 1.4))
        square = canvas.label("back muscle")
        base = [v.body.at(side * (v.plan.width * 0.5 + 34), v.plan.depth * 0.75, 0) for v in lumbar]
        _tube(canvas, np.array(base), np.full(len(base), 9.0 * bulk), square)
    crus = canvas.label("crus")
    for side in (-1.0, 1.0):
        ends = [v.body.at(side * (6 + 1.5 * n), -v.plan.depth / 2 - 3.5, 0) for n, v in enumerate(lumbar[:3][::-1])]
        ends += [
            v.body.at(side * (13 + 4 * n), -v.plan.depth / 2 - 5, 0)
            for n, v in enumerate(spine.vertebrae[len(lumbar) :])
        ]
        _tube(canvas, np.array(ends), rng.uniform(2.5, 5.0) * np.ones(len(ends)), crus)


def _tube(canvas: Canvas, points: np.ndarray, radii: np.ndarray, label: int, deeper: float = 1.0) -> None:
    """Paint a tube of changing radius through points that rise or fall in z; sections are `deeper` along y than x."""
    order = np.argsort(points[:, 2])
    p, r = points[order], radii[order]
    wide = r.max() + 1
    reach = np.array([wide, wide * deeper, 0.0])
    box = canvas.box(p.min(0) - reach - [0, 0, r[0]], p.max(0) + reach + np.array([0, 0, r[-1]]))
    if box is None:
        return
    z = box.z[0, :, 0]
    cx, cy, cr = (np.interp(z, p[:, 2], a).astype(np.float32)[None, :, None] for a in (p[:, 0], p[:, 1], r))
    ends = np.clip(np.maximum((p[0, 2] - z) / r[0], (z - p[-1, 2]) / r[-1]), 0, 1).astype(np.float32)
    cr = cr * np.sqrt(1 - ends * ends)[None, :, None]
    inside = (box.x - cx) ** 2 + ((box.y - cy) / np.float32(deeper)) ** 2 < cr * cr
    canvas.paint(box, inside & in_cavity(canvas, box), label)


def paint_back_muscles(canvas: Canvas, spine: Spine, whole: Box, fascia: np.ndarray, rng: np.random.Generator) -> None:
    """Paint erector spinae and multifidus with fatty streaks, and the ligaments between the spinous processes.

    Parameters
    ----------
    whole : the canvas as a box. fascia : LPS y of the muscles' posterior border, (x, z, 1).
    """
    front = np.array(
        [s.frame.at(0, s.depth / 2 + 6, 0) for s in spine.sacrum]
        + [v.body.at(0, v.plan.depth / 2 + 1, 0) for v in spine.vertebrae]
    )
    y_front, middle = along_z(canvas, front, 1), along_z(canvas, front, 0)
    box = canvas.box(
        (whole.x[0, 0, 0] - 1, float(y_front.min()) - 30, whole.z[0, -1, 0] - 1),
        (whole.x[-1, 0, 0] + 1, float(fascia.max()) + 1, whole.z[0, 0, 0] + 1),
    )
    if box is None:
        return
    lateral = np.abs(box.x - middle[None, :, None])
    edge = y_front[None, :, None] + 0.12 * np.clip(lateral - 14, 0, 40) - 0.006 * np.clip(lateral - 26, 0, 60) ** 2
    region = (box.y > edge) & (box.y < fascia)
    depth = box.y - edge
    canvas.paint(box, region, canvas.label("back muscle"))
    low = np.clip(1 - (box.z - 10) / 160, 0, 1.2)
    near = np.clip(1.2 - lateral / 32, 0, 1)
    wasted = rng.uniform(0.0, 1.3)
    blotches = smooth_noise(rng, box, (8.0, 22.0, 4.0)) + 0.8 * smooth_noise(rng, box, (4.0, 8.0, 2.4))
    bias = 2.4 - wasted * low * near - 0.4 * rng.random()
    canvas.paint(box, region & (blotches > bias - 0.7), canvas.label("marbled muscle"))
    canvas.paint(box, region & (blotches > bias), canvas.label("muscle fat"))
    # Feathery septa: thin sheets where smooth noise changes its sign.
    for scale, width in (((14.0, 48.0, 8.0), 0.05), ((7.0, 18.0, 5.0), 0.06)):
        sheet = np.abs(smooth_noise(rng, box, scale)) < np.float32(width * rng.uniform(0.3, 1.2))
        canvas.paint(box, region & sheet & (blotches > -0.3), canvas.label("muscle fat"))
    # Between the processes, close to the bone, fat, veins and short muscles mix on a small scale.
    close = np.clip(1.15 - depth / 22, 0, 1) * np.clip(1.5 - lateral / 24, 0, 1)
    fine = smooth_noise(rng, box, (4.5, 5.0, 3.5))
    canvas.paint(box, region & (fine + 2.2 * close > 2.0), canvas.label("plexus"))
    canvas.paint(box, region & (fine + 2.2 * close > rng.uniform(2.1, 3.0)), canvas.label("muscle fat"))
    _midline(canvas, box, region & (lateral < 3.6) & (depth > 20), rng)
    cord = (lateral < 4.5) & (np.abs(box.y - fascia) < 1.6)
    canvas.paint(box, cord, canvas.label("ligament"))


def paint_gluteal(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint gluteus maximus behind the sacrum's lower half and piriformis in front of it, marbled with fat."""
    third = spine.sacrum[2]
    scale = spine.plan.scale
    marbled, fat = canvas.label("marbled muscle"), canvas.label("muscle fat")
    for side in (-1.0, 1.0):
        label = canvas.label("back muscle")
        centre = third.frame.origin + np.array([side * rng.uniform(50, 60), rng.uniform(26, 38), -rng.uniform(20, 38)])
        lump = canvas.ellipsoid(centre, np.array([40, 27, 58]) * scale * rng.uniform(0.85, 1.15))
        start = third.frame.at(side * third.width * 0.5, -6, 0)
        band = canvas.capsule(start, start + np.array([side * 45, 14, -30.0]), rng.uniform(8, 13) * scale)
        for box, inside in ((s[0], s[1] < limit) for s, limit in ((lump, 1), (band, 0)) if s is not None):
            kept = inside & _lacks(canvas, box, ("air", "skin"))
            canvas.paint(box, kept, label)
            streaks = smooth_noise(rng, box, (9.0, 14.0, 5.0))
            canvas.paint(box, kept & (streaks > 1.1), marbled)
            canvas.paint(box, kept & (np.abs(streaks + 0.4) < rng.uniform(0.02, 0.08)), fat)


def _midline(canvas: Canvas, box: Box, midline: np.ndarray, rng: np.random.Generator) -> None:
    """Paint the interspinous ligaments, streaked with fat."""
    canvas.paint(box, midline, canvas.label("interspinous"))
    mixed = smooth_noise(rng, box, (5.0, 4.0, 8.0)) > rng.uniform(-0.3, 1.0)
    canvas.paint(box, midline & mixed, canvas.label("interspinous fat"))


def paint_vessels(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint aorta, vena cava and iliac vessels, segmental vessels at the bodies' waists."""
    void = canvas.label("artery")
    vein = canvas.label("vena cava")
    lumbar = [v for v in spine.vertebrae if not v.plan.rib][::-1]
    chest = [v for v in spine.vertebrae if v.plan.rib][::-1]
    end = max(1, len(lumbar) - 1)
    split = lumbar[end - 1]
    ra, rv = rng.uniform(6.5, 10.5), rng.uniform(7.0, 12.0)
    aorta = [v.body.at(6 + 4 * (v.plan.rib), -v.plan.depth / 2 - ra - 2, 0) for v in chest + lumbar[:end]]
    cava = [v.body.at(-14, -v.plan.depth / 2 - rv - 0.5, 0) for v in chest + lumbar[: end + 1]]
    lowest = lumbar[-1].body
    _tube(canvas, np.array(cava), np.full(len(cava), rv), vein)
    _tube(canvas, np.array(aorta), np.full(len(aorta), ra), void)
    for side in (-1.0, 1.0):
        for label, radius, start in ((void, ra * 0.62, aorta[-1]), (vein, rv * 0.7, cava[-1])):
            mid = lowest.at(side * 26, -split.plan.depth / 2 - 8, -10)
            low = mid + np.array([side * 22, 8, -55.0])
            for a, b in ((start, mid), (mid, low)):
                shape = canvas.capsule(a, b, radius)
                if shape is not None:
                    canvas.paint(shape[0], (shape[1] < 0) & in_cavity(canvas, shape[0]), label)
    small = canvas.label("vessel")
    for v in spine.vertebrae:
        p = v.plan
        for side in (-1.0, 1.0):
            a = v.body.at(side * p.width * 0.25, -p.depth * 0.53, 0)
            b = v.body.at(side * p.width * 0.50, 0.05 * p.depth, rng.normal(0, 1))
            shape = canvas.capsule(a, b, rng.uniform(1.0, 2.0))
            if shape is not None:
                canvas.paint(shape[0], shape[1] < 0, small)
