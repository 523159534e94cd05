"""Everything in the body that is not bone, in Hounsfield units: skin, fat, muscle, lungs, organs, bowel, vessels.

`draw_tissues` paints in the order from large to small on the CT's own slices; bone is laid over it later. The outline
of the body is the whole-body phantom's (`body.body_maps`). Organs that take up tracer lie where the sources of
`uptake.organs` lie, so that both modalities see one body.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline

from pipelines.phantoms.axial import spine_axis
from pipelines.phantoms.body import body_maps
from pipelines.phantoms.spect_ct.bones import Placement
from pipelines.phantoms.spect_ct.grid import Box, Grid
from pipelines.phantoms.spect_ct.noise import Texture
from pipelines.phantoms.spect_ct.vertebrae import Vertebra
from pipelines.phantoms.uptake import Source, lognormal

AIR, LUNG, FAT, MUSCLE = -1000.0, -860.0, -102.0, 52.0
COARSE = 4
"""Rows and columns are thinned by this factor where only slow changes matter (depth below the skin)."""


@dataclass
class Tissues:
    """Hounsfield units being painted.

    Attributes
    ----------
    hu : float32 (slice, row, column). inside : bool, same shape, the body with its skin.
    """

    grid: Grid
    place: Placement
    rng: np.random.Generator
    hu: np.ndarray
    inside: np.ndarray

    def ball(self, centre: Iterable[float], radii: Iterable[float], hu: float, soft_mm: float = 2.0) -> None:
        """Paint an ellipsoid given in reference coordinates."""
        middle = self.place(np.asarray([list(centre)], float))[0]
        self.ball_at(middle, np.asarray(list(radii), float) * self.place.scale, hu, soft_mm)

    def ball_at(self, middle: np.ndarray, half: np.ndarray, hu: float, soft_mm: float = 2.0) -> None:
        """Paint an ellipsoid given in LPS, its border `soft_mm` wide."""
        box = self.grid.box(middle - half - soft_mm, middle + half + soft_mm)
        if box is not None:
            self._blend(box, self._ellipsoid(box, middle, half) * float(half.min()), hu, soft_mm)

    def tube(self, path: Sequence[Sequence[float]], radius: float | Sequence[float], hu: float) -> None:
        """Paint a string of balls along a smooth path in reference coordinates."""
        control = self.place(np.asarray(path, float))
        radii = np.broadcast_to(np.asarray(radius, float), (len(control),)) * self.place.scale
        arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(control, axis=0), axis=1))])
        steps = np.linspace(0, arc[-1], max(2, int(arc[-1] / (0.5 * radii.min())) + 1))
        smooth = CubicSpline(arc, control) if len(control) > 2 else None
        for s in steps:
            ends = control[0] + (control[-1] - control[0]) * (s / arc[-1])
            middle = smooth(s) if smooth else ends
            self.ball_at(middle, np.full(3, np.interp(s, arc, radii)), hu, 1.5)

    def _ellipsoid(self, box: Box, middle: np.ndarray, half: np.ndarray) -> np.ndarray:
        x, y, z = self.grid.open_coordinates(box)
        return np.asarray(
            1 - np.sqrt(((x - middle[0]) / half[0]) ** 2 + ((y - middle[1]) / half[1]) ** 2
                        + ((z - middle[2]) / half[2]) ** 2)
        )  # fmt: skip

    def _blend(self, box: Box, depth: np.ndarray, hu: float | np.ndarray, soft_mm: float) -> None:
        share = np.clip(0.5 + depth / soft_mm, 0, 1)
        held = self.hu[box]
        held += share * (hu - held) * self.inside[box]


def draw_tissues(
    grid: Grid, place: Placement, bone_depth: np.ndarray, vertebrae: Mapping[str, Vertebra],
    sources: Sequence[Source], bladder: Source | None, rng: np.random.Generator,
) -> Tissues:  # fmt: skip
    """Paint the body without its bones.

    Parameters
    ----------
    grid : the CT's grid. bone_depth : mm below the bone's surface on it, so that skin covers every bone.
    sources, bladder : activity outside bone (stretched, before posture), as `uptake.organs` draws it.
    """
    depth, below_skin = _outline(grid, place, bone_depth)
    t = Tissues(grid, place, rng, np.full(grid.shape, AIR, np.float32), depth > 0)
    girth = place.patient.girth
    fat_mm = np.float32(np.clip(rng.normal(16 * girth**2.2 - 4, 4), 3, 60))
    wall_mm = np.float32(rng.uniform(11, 17))
    streaks = 12 * Texture(rng, 9.0).over(grid)
    body = np.where(below_skin < fat_mm + 0.35 * streaks, FAT, MUSCLE + 0.5 * streaks - 14 * (streaks > 15))
    body = np.where(below_skin < 2.0, 20.0, body).astype(np.float32)
    edge = np.clip(0.5 + depth / 2.0, 0, 1)
    t.hu[:] = AIR + edge * (body - AIR)
    _abdomen(t, below_skin - fat_mm - wall_mm, streaks)
    _muscles(t)
    _chest(t)
    _organs(t, sources, bladder)
    _bowel(t)
    _vessels(t)
    _discs(t, vertebrae)
    return t


def _outline(grid: Grid, place: Placement, bone_depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth below the skin near it (sharp, mm) and anywhere (slow, mm), both (slice, row, column)."""
    x = grid.coordinates(2)
    z_table = place.bed_z_mm + place.centre_z_mm - grid.coordinates(0)
    maps = body_maps(place.patient, place.posture, x, z_table)
    y = grid.coordinates(1).astype(np.float32)[None, :, None]
    sharp = np.minimum(y - maps.front[:, None, :], maps.back[:, None, :] - y)
    sharp = np.where(maps.thickness[:, None, :] > 0, sharp, np.float32(-20))
    # Bones that reach the skin of the simple outline push it out by a finger's breadth.
    thin = np.s_[:, ::COARSE, ::COARSE]
    step = (grid.spacing_mm[0], grid.spacing_mm[1] * COARSE, grid.spacing_mm[2] * COARSE)
    covered = ndimage.distance_transform_edt(bone_depth[thin] < 0, sampling=step) < 9.0
    coarse = (sharp[thin] > 0) | covered
    coarse = ndimage.binary_closing(coarse, iterations=2) | coarse
    signed = ndimage.distance_transform_edt(coarse, sampling=step) - ndimage.distance_transform_edt(
        ~coarse, sampling=step
    )
    slow = enlarge(signed.astype(np.float32), grid.shape)
    return np.maximum(np.minimum(sharp, 20), np.minimum(slow, 3)), slow


def enlarge(coarse: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Interpolate rows and columns thinned by `COARSE` back to a full grid, linearly, as two matrix products."""
    rows, columns = (_spread(n, m) for n, m in zip(shape[1:], coarse.shape[1:], strict=True))
    return np.asarray(np.matmul(np.matmul(rows, coarse), columns.T))


def _spread(fine: int, coarse: int) -> np.ndarray:
    place = np.minimum(np.arange(fine) / COARSE, coarse - 1)
    low = np.minimum(place.astype(int), coarse - 2)
    weights = np.zeros((fine, coarse), np.float32)
    share = (place - low).astype(np.float32)
    weights[np.arange(fine), low] = 1 - share
    weights[np.arange(fine), low + 1] += share
    return weights


def _abdomen(t: Tissues, below_wall: np.ndarray, streaks: np.ndarray) -> None:
    """Fat inside the muscular wall, from the diaphragm to the pelvic floor."""
    level = t.place.bed_z_mm + t.place.centre_z_mm - t.grid.coordinates(0)
    z = (level / t.place.patient.stretch[2])[:, None, None]
    cavity = np.clip(below_wall / 3 + 0.5, 0, 1) * np.clip((z - 510) / 20, 0, 1) * np.clip((870 - z) / 60, 0, 1)
    share = float(np.clip(t.place.patient.girth * 0.75, 0.35, 0.95))
    fill = np.where(streaks > 24 * share - 12, 34.0, FAT + 6) + 0.3 * streaks
    t.hu += (cavity * t.inside * (fill - t.hu)).astype(np.float32)


def _muscles(t: Tissues) -> None:
    """Paraspinal muscles, psoas, gluteal muscles, thighs; the fat between them is what they leave out."""
    patient = t.place.patient
    z = np.linspace(300, 780, 13)
    x, y = spine_axis(patient, z)
    tone = float(np.clip(60 - 0.3 * (patient.age_years - 40) + t.rng.normal(0, 6), 15, 70))
    for side in (-1, 1):
        for out, radius, behind in ((24, 17, 40), (46, 15, 38)):
            path = np.stack([x + side * out, y + behind, z], 1)
            t.tube(path.tolist(), radius, tone)
        psoas = [
            [x[i] + side * (28 + 0.16 * (z[i] - 580)), y[i] + 6 - 0.3 * max(0, z[i] - 660), z[i]] for i in (8, 10, 12)
        ]
        t.tube([*psoas, [side * 90 * patient.pelvis_width, -20, 830]], [10, 19, 21, 15], tone)
        t.ball((side * 92 * patient.pelvis_width, 62, 790), (48, 36, 75), tone - 5, 8.0)
        t.ball((side * 118 * patient.pelvis_width, 10, 765), (22, 48, 55), tone - 3, 6.0)


def _chest(t: Tissues) -> None:
    """Lungs with their vessels, airways, heart and the great vessels."""
    patient = t.place.patient
    texture = Texture(t.rng, 5.0)
    depth = patient.chest_depth
    hu = LUNG + t.rng.normal(0, 25)
    for side in (-1, 1):
        middle = t.place(np.array([[side * 68.0, -4, 415]]))[0]
        half = np.array([60.0, 78 * depth, 118]) * t.place.scale
        box = t.grid.box(middle - half, middle + half)
        if box is not None:
            x, y, z = t.grid.open_coordinates(box)
            # Flat towards the diaphragm, pointed at the apex.
            rise = np.clip((z - middle[2]) / half[2], -1, 1)
            rho = (np.abs((x - middle[0]) / half[0]) ** 2.4 + np.abs((y - middle[1]) / half[1]) ** 2.4
                   + np.where(rise > 0, rise**2, np.abs(rise) ** 5)) ** (1 / 2.4)  # fmt: skip
            noise = texture.over(t.grid, box)
            t._blend(box, (1 - rho) * float(half.min()), hu + 18 * noise + 650 * (noise > 2.3), 3.0)
    t.tube([[0, 2, 280], [0, 10, 375]], 8.5, AIR + 20)
    for side in (-1, 1):
        t.tube([[0, 10, 372], [side * 34, 14, 405]], 6.0, AIR + 20)
    t.ball((0, -20, 350), (34, 42, 60), 38, 6.0)
    t.ball((24, -34, 455), (54, 46, 52), 46 + t.rng.normal(0, 5), 4.0)


def _organs(t: Tissues, sources: Sequence[Source], bladder: Source | None) -> None:
    rng = t.rng
    t.ball((-72, -8, 562), (74, 82, 70), 58 + rng.normal(0, 9), 2.0)
    t.ball((10, -50, 545), (60, 36, 32), 55, 2.0)
    t.ball((92, 30, 548), (30, 42, 48), 50, 2.0)
    t.ball((52, -45, 570), (40, 30, 46), 30, 2.0)
    if rng.random() < 0.6:
        t.ball((56, -60, 556), (26, 12, 22), AIR + 30, 2.0)
    for source in sources:
        if source.name in ("kidney", "thyroid"):
            middle, half = _extent(t, source)
            t.ball_at(middle, half, 34.0 if source.name == "kidney" else 95.0)
            if source.name == "kidney":
                t.ball_at(middle - np.array([np.sign(middle[0]) * 8, 0, 0]), half * [0.35, 0.4, 0.55], FAT)
    if bladder is not None:
        middle, half = _extent(t, bladder)
        t.ball_at(middle, half + 3, 45.0)
        t.ball_at(middle, half, 6.0)
    t.ball((0, 10, 835), (26, 22, 22), 48)
    t.tube([[0, 58, 800], [0, 52, 830], [0, 62, 860]], [17, 20, 12], 35)
    if rng.random() < 0.7:
        t.ball((rng.normal(0, 4), 50, 815), (11, 10, 16), AIR + 40)


def _extent(t: Tissues, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and half axes (LPS, mm) of a source's cloud of points."""
    points = t.place.from_table(t.place.posture.apply(source.points.astype(float)))
    # The density of `uptake.blob` falls to zero at the rim; 2.1 standard deviations reach it.
    return points.mean(0), np.maximum(points.std(0) * 2.1, 4.0)


def _bowel(t: Tissues) -> None:
    """Loops with fluid, stool or gas; now and then positive contrast."""
    rng = t.rng
    contrast = 240 + lognormal(rng, 90, 0.5) if rng.random() < 0.1 else 0.0
    for _ in range(int(rng.integers(16, 30))):
        x, z = rng.uniform(-95, 95), rng.uniform(585, 770)
        centre = np.array([x, rng.uniform(-68, -8) + 10 * abs(x) / 95, z])
        if np.abs(x) > 100 - 0.12 * (z - 585):
            continue
        radii = rng.uniform(9, 19, 3)
        t.ball(centre, radii + 2, 42.0)
        fill = contrast if contrast and rng.random() < 0.7 else rng.choice([8.0, 25.0, AIR + 40], p=[0.4, 0.3, 0.3])
        t.ball(centre, radii, float(fill))
    for side in (-1, 1):
        t.tube([[side * 96, 18, 590], [side * 104, 8, 660], [side * 94, -12, 730]], [16, 20, 19], 30.0)
        for z in rng.uniform(590, 730, 4):
            t.ball((side * 99, 6, z), rng.uniform(6, 13, 3), AIR + 60)


def _discs(t: Tissues, vertebrae: Mapping[str, Vertebra]) -> None:
    """Discs above every vertebra, a vacuum in some worn ones, and the contents of the canal."""
    for v in vertebrae.values():
        hu = 85 + t.rng.normal(0, 10)
        for up in (1.0, 1.15, 1.3):
            half = np.array([v.half_width * 0.97, v.half_depth * 0.93, v.half_height * 0.3])
            t.ball_at(v.at(0, 0, up * v.half_height), half, hu)
        if v.region == "L" and t.rng.random() < 0.004 * (t.place.patient.age_years - 40):
            t.ball_at(v.at(t.rng.normal(0, 5), 0, 1.2 * v.half_height), np.array([9.0, 6.0, 1.8]), -700.0)
        for up in (-1.0, -0.4, 0.2, 0.8, 1.4):
            t.ball_at(v.at(0, v.canal_back, up * v.half_height), np.array([*v.canal, v.half_height * 0.5]), 28.0)


def _vessels(t: Tissues) -> None:
    """Aorta, with calcified plaques in the old, and the inferior vena cava; costal cartilage."""
    rng, patient = t.rng, t.place.patient
    z = np.linspace(350, 690, 9)
    x, y = spine_axis(patient, z)
    path = np.stack([x + 10 + 8 * (z < 520), y - 29, z], 1)
    t.tube(path.tolist(), 11.0, 44.0)
    t.tube(np.stack([x[4:] - 20, y[4:] - 30, z[4:]], 1).tolist(), 11.0, 42.0)
    for side in (-1, 1):
        t.tube([[x[-1] + 4, y[-1] - 28, 685], [side * 45, 0, 765], [side * 70, -42, 830]], [9, 7, 6], 43.0)
    plaques = rng.poisson(max(0.0, patient.age_years - 50) * 0.5)
    for i in rng.integers(0, len(z), plaques):
        angle = rng.uniform(0, 2 * np.pi)
        spot = path[i] + [11 * np.cos(angle), 11 * np.sin(angle), rng.uniform(-18, 18)]
        t.ball(spot, rng.uniform(1.5, 4.0, 3), rng.uniform(200, 700), 1.5)
