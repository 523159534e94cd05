"""The spinal canal: epidural fat, ligamenta flava, dural sac, cord and cauda equina, and herniations into it.

The sac is a tube whose centre and radii run smoothly along z; cord and cauda equina lie in it. Cauda equina in the
truth is the envelope of the roots, fluid between them included; the spinal canal is the sac without cord and cauda.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from pipelines.phantoms.lumbar.canvas import Box, Canvas, Frame, smooth_noise
from pipelines.phantoms.lumbar.chain import Spine, Vertebra
from pipelines.phantoms.lumbar.patient import BODY, CANAL, CORD, DISC, FORAMEN
from pipelines.phantoms.lumbar.posterior import pedicle_half_height, pedicle_offset, pedicle_up


@dataclass(frozen=True)
class Sac:
    """Centre (x, y) and half-axes (mm) of the dural sac at every row of the canvas; `lowest` is where it ends (z)."""

    x: np.ndarray
    y: np.ndarray
    half_width: np.ndarray
    half_depth: np.ndarray
    epidural: np.ndarray
    lowest: float
    conus: float


def plan_sac(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> Sac:
    """Lay the sac behind the bodies, narrowed at stenoses, tapering in the sacrum; shared by bone and fluid."""
    knots: list[tuple[float, ...]] = []
    fullness = rng.uniform(0.80, 1.0)
    for segment, share, fat in zip(spine.sacrum, (0.9, 0.62, 0.35, 0.2, 0.2), (5.0, 5, 4, 3, 3), strict=True):
        depth = spine.vertebrae[0].plan.canal_depth * share
        at = segment.frame.at(0, segment.depth / 2 + 2.5 + depth / 2, 0)
        width = spine.vertebrae[0].plan.canal_width * 0.36 * share
        knots.append((at[2], at[0], at[1], width, depth / 2 / _slope(segment.frame), fat))
    knots.reverse()
    for vertebra in spine.vertebrae:
        p = vertebra.plan
        tight = 1 - p.stenosis
        depth = p.canal_depth * fullness * tight
        gap = 1.5 + p.bulge * 0.8 + (rng.uniform(0, 4) if p is spine.vertebrae[0].plan else 0.0)
        at = vertebra.disc.at(0, p.depth / 2 + gap + depth / 2, 0)
        knots.append((at[2], at[0], at[1], p.canal_width * 0.38 * fullness * (0.5 + 0.5 * tight), depth / 2, 2.5))
        depth = p.canal_depth * fullness
        at = vertebra.body.at(0, p.depth / 2 + 0.8 + depth / 2, 0)
        knots.append((at[2], at[0], at[1], p.canal_width * 0.41 * fullness, depth / 2 / _slope(vertebra.body), 2.5))
    table = np.array(sorted(knots)).T
    keep = np.concatenate([[True], np.diff(table[0]) > 1.0])
    table = table[:, keep]
    smooth = [PchipInterpolator(table[0], row, extrapolate=False) for row in table[1:]]
    z = np.clip(canvas.z, table[0, 0], table[0, -1])
    x, y, width, depth_half, fat = (f(z).astype(np.float32) for f in smooth)
    end = spine.sacrum[1].frame.at(0, 0, rng.uniform(-20, 14))[2]
    by_name = {v.plan.name: v for v in spine.vertebrae}
    # Conus height in vertebrae: 0 is the middle of L1, +1 of L2, -1 of T12.
    conus = np.interp(
        spine.plan.conus, [-2, -1, 0, 1, 2], [by_name[n].body.origin[2] for n in ("T11", "T12", "L1", "L2", "L3")]
    )
    return Sac(x, y, width, depth_half, fat, float(end), float(conus))


def _slope(frame: Frame) -> float:
    """Cosine between the frame's up axis and the vertical: a slanting tube has a deeper horizontal section."""
    return float(max(0.45, frame.axes[2][2]))


def paint_canal(canvas: Canvas, spine: Spine, sac: Sac, rng: np.random.Generator) -> None:
    """Paint epidural fat, flaval ligaments, sac, cord and cauda equina over the bones, the bodies excepted."""
    reach = float(sac.half_depth.max() + 12)
    middle_x = float(sac.x.mean())
    spread = float(np.ptp(sac.x) / 2 + sac.half_width.max() + 6)
    box = canvas.box(
        (middle_x - spread, float(sac.y.min()) - reach, float(canvas.z[-1]) - 1),
        (middle_x + spread, float(sac.y.max()) + reach, float(canvas.z[0]) + 1),
    )
    if box is None:
        return
    row = (None, slice(None), None)
    dx = (box.x - sac.x[row]) / sac.half_width[row]
    dy_mm = box.y - sac.y[row]
    dy = dy_mm / sac.half_depth[row]
    radius = np.sqrt(dx * dx + dy * dy)
    free = ~canvas.holds(box, BODY, DISC, FORAMEN)
    fat = sac.epidural[row]
    # Posterior epidural fat is a triangle under the laminae; it comes and goes with the levels.
    behind = fat * (1.2 + np.sin(box.z / 5.2)) * np.clip(1.2 - np.abs(dx), 0, 1) * 0.9
    grown = (radius - 1) * sac.half_depth[row] - np.where(dy > 0.2, behind, 0.9)
    canvas.paint(box, (grown < 0) & free, canvas.label("epidural fat"))
    _flavum(canvas, spine, rng)
    inside = (radius < 1) & ~canvas.holds(box, BODY, DISC)
    taper = box.z > sac.lowest
    canvas.paint(box, (radius < 1.0 + 0.7 / sac.half_depth[row]) & free & taper, canvas.label("dura"))
    inside &= taper
    canvas.paint(box, inside, canvas.label("csf"), canvas.instance(CANAL))
    _cord(canvas, box, inside, dx, dy, sac, rng)


def _flavum(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    label = canvas.label("flavum")
    for vertebra in spine.vertebrae:
        p = vertebra.plan
        thick = rng.uniform(1.3, 2.4) * (1 + 1.2 * p.stenosis)
        for s in (-1.0, 1.0):
            high = vertebra.body.at(s * 3.5, p.depth / 2 + p.canal_depth + 4.2, -p.height * 0.32)
            low = vertebra.disc.at(s * 6.5, p.depth / 2 + p.canal_depth + 2.0, -p.disc_height / 2 - 4)
            shape = canvas.capsule(high, low, thick, (vertebra.body.axes[0], 2.2))
            if shape is not None:
                canvas.paint(shape[0], (shape[1] < 0) & ~canvas.holds(shape[0], BODY, DISC, FORAMEN), label)


def _cord(
    canvas: Canvas, box: Box, inside: np.ndarray, dx: np.ndarray, dy: np.ndarray, sac: Sac, rng: np.random.Generator
) -> None:
    value = canvas.instance(CORD)
    row = (None, slice(None), None)
    z = box.z
    above = z - np.float32(sac.conus)
    # The lumbar enlargement tapers over about 3 cm into the conus.
    taper = np.sqrt(np.clip(above / 32, 0, 1)).astype(np.float32)
    wide, deep = rng.uniform(4.3, 5.4), rng.uniform(3.3, 4.2)
    shift = rng.uniform(-0.1, 0.35)
    off_y = (dy - shift) * sac.half_depth[row]
    ellipse = np.full(inside.shape, 9.0, np.float32)
    rows = (above > 0)[0, :, 0]
    ellipse[:, rows] = np.sqrt(
        (dx * sac.half_width[row] / (wide * taper + 1e-3))[:, rows] ** 2 + (off_y / (deep * taper + 1e-3))[:, rows] ** 2
    )
    # Roots lie in the posterior part of the sac (supine), sparser and further back from level to level.
    fraction = np.clip(-above / np.float32(max(60.0, sac.conus - sac.lowest)), 0, 1)
    start = np.float32(rng.uniform(-0.75, -0.35)) + np.float32(rng.uniform(0.6, 1.1)) * fraction
    horns = np.float32(rng.uniform(0.2, 0.7)) * dx * dx
    # Beside the cord they come in from behind over a few centimetres; at the end they thin out.
    start = start + np.clip((above + 12) / 34, 0, 1) ** 1.5 * (0.95 - start)
    start = start + np.clip((fraction - np.float32(rng.uniform(0.70, 0.92))) / 0.12, 0, 1)
    cauda = (dy > start - horns) & (dx * dx + dy * dy < 0.9)
    cauda &= inside
    canvas.paint(box, cauda, canvas.label("root fluid"), value)
    strands = smooth_noise(rng, box, (1.9, 90.0, 1.3)) + 0.5 * smooth_noise(rng, box, (1.5, 40.0, 1.1))
    # Strands run along the sac: every row is moved with its centre.
    moved = np.rint((sac.y[box.index[1]] - sac.y.min()) / abs(float(canvas.y[1] - canvas.y[0]))).astype(int)
    columns = (np.arange(strands.shape[2])[None, :] - moved[:, None]) % strands.shape[2]
    strands = np.take_along_axis(strands, columns[None], 2)
    canvas.paint(box, cauda & (strands > rng.uniform(-0.5, 0.7)), canvas.label("root"), value)
    canvas.paint(box, inside & (ellipse < 1), canvas.label("cord"), value)
    canvas.paint(box, inside & (ellipse < 0.4), canvas.label("cord grey"), value)


def paint_foramina(canvas: Canvas, spine: Spine, rng: np.random.Generator) -> None:
    """Paint the foramina, before discs and bones cut them to shape; truth goes from sac to pedicle's outer edge."""
    below = "S1"
    lower: Vertebra | None = None
    for vertebra in spine.vertebrae:
        for s, side in ((-1.0, "right"), (1.0, "left")):
            value = canvas.instance(FORAMEN, f"{vertebra.plan.name}/{below} {side}")
            _foramen(canvas, vertebra, lower, s, value, rng)
        below, lower = vertebra.plan.name, vertebra


def foramen_extent(vertebra: Vertebra, lower: Vertebra | None) -> tuple[float, float]:
    """Return lowest and highest point (mm, up in the disc's frame) between the pedicles below and above."""
    p = vertebra.plan
    top = p.disc_height / 2 + p.height / 2 + pedicle_up(vertebra) - pedicle_half_height(vertebra)
    if lower is None:
        return -p.disc_height / 2 - 4.0, top
    q = lower.plan
    below = q.height / 2 - pedicle_up(lower) - pedicle_half_height(lower)
    return -p.disc_height / 2 - below, top


def _foramen(
    canvas: Canvas, vertebra: Vertebra, lower: Vertebra | None, s: float, value: int, rng: np.random.Generator
) -> None:
    p = vertebra.plan
    bottom, top = foramen_extent(vertebra, lower)
    inner = p.canal_width * 0.42
    # L5 has so broad a pedicle that its outer edge lies in front of the ala; the foramen ends before.
    outer = pedicle_offset(vertebra) + min(p.pedicle_width * 0.42, 4.0)
    reach = outer + 9
    box = canvas.frame_box(
        vertebra.disc, (min(0, s * reach), p.depth / 2 - 12, bottom - 1), (max(0, s * reach), p.depth / 2 + 16, top + 1)
    )
    if box is None:
        return
    u, v, w = box.local(vertebra.disc)
    across = s * u
    middle, half = (top + bottom) / 2, (top - bottom) / 2 + 0.8
    share = np.clip((w - np.float32(bottom)) / np.float32(top - bottom), 0, 1)
    narrow = rng.uniform(0.75, 1.1) * (1 - 0.3 * p.stenosis)
    depth = np.float32(narrow) * (np.float32(3.4) + np.float32(2.6) * share)
    # The lateral body wall recedes, so the foramen's front follows the outline of body and disc; bone and disc cut it.
    front = np.float32(p.depth / 2 - 0.5) - np.float32(0.035) * np.clip(across - 8, 0, 30) ** 2
    ear = np.sqrt(((w - np.float32(middle)) / np.float32(half)) ** 4 + ((v - front - depth) / (depth + 0.8)) ** 2)
    fat = (ear < 1.2) & (across > inner) & (across < outer + 4)
    canvas.paint(box, fat, canvas.label("foraminal fat"))
    within = (ear < 1) & (across > inner) & (across < outer)
    canvas.mark(box, within, value)
    # The root leaves under the upper pedicle, in the upper third, forwards and down.
    radius = rng.uniform(1.9, 3.0)
    a = vertebra.disc.at(s * inner * 0.8, p.depth / 2 + 5.5, top - radius - 1.0)
    b = vertebra.disc.at(s * (outer + 14), p.depth / 2 - 2.0, bottom + (top - bottom) * 0.35)
    shape = canvas.capsule(a, b, radius)
    if shape is not None:
        canvas.labels[shape[0].index][shape[1] < 0] = canvas.label("nerve")
    vein = canvas.label("vessel")
    for _ in range(int(rng.integers(1, 4))):
        spot = vertebra.disc.at(
            s * rng.uniform(inner, outer), p.depth / 2 + rng.uniform(2, 8), rng.uniform(bottom, top)
        )
        small = canvas.capsule(spot, spot + rng.normal(0, 4, 3), rng.uniform(0.6, 1.2))
        if small is not None:
            canvas.labels[small[0].index][small[1] < 0] = vein


def paint_herniations(canvas: Canvas, spine: Spine, sac: Sac, rng: np.random.Generator) -> None:
    """Push disc material into the sac where a worn disc has herniated; it belongs to the disc."""
    values = {i.level.split("/")[0]: n + 1 for n, i in enumerate(canvas.table) if i.structure == DISC}
    for index, vertebra in enumerate(spine.vertebrae):
        p = vertebra.plan
        if rng.random() > (0.22 if index < 3 else 0.06) * (1.3 - p.hydration):
            continue
        size = rng.uniform(3.0, 7.0)
        lateral = rng.choice([-1.0, 1.0]) * rng.uniform(0, 0.45) * p.canal_width
        up = rng.normal(0, 2.5)
        centre = vertebra.disc.at(lateral, p.depth / 2 + p.bulge + size * 0.15, up)
        shape = canvas.ellipsoid(
            centre, (size * rng.uniform(0.9, 1.8), size, size * rng.uniform(0.6, 1.1)), vertebra.disc.axes
        )
        if shape is None:
            continue
        box, radius = shape
        soft = ~canvas.holds(box, BODY, DISC)
        canvas.paint(box, (radius < 1) & soft, canvas.label("herniation rim"))
        canvas.paint(box, (radius < 0.88) & soft, canvas.label("herniation", p.hydration), values[p.name])
        spine.plan.pathologies.append(f"herniation below {p.name}")
