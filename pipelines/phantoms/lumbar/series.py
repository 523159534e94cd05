"""A simulated examination as series: the sagittal T2 that carries the truth, and what a scanner makes beside it.

Companions are made from the same anatomy in the same frame of reference: T1 and STIR on the T2's own slices, and an
axial T2 with a block of slices along every lumbar disc, each block at that disc's angle. They exist so that choosing
the right series can be tried; they carry no truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from pipelines.phantoms.lumbar.draw import draw_lumbar
from pipelines.phantoms.lumbar.looks import Look, draw_look, grey_values
from pipelines.phantoms.lumbar.patient import LumbarAnatomy, LumbarPatient
from pipelines.phantoms.lumbar.plan import stream
from pipelines.phantoms.lumbar.protocol import Pack, Sampler, draw_pack
from pipelines.phantoms.lumbar.render import acquire

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
_AXIAL_PIXEL_MM, _AXIAL_SIZE, _AXIAL_STEP_MM, _AXIAL_SLICES = 0.7, 224, 4.4, 4


@dataclass(frozen=True)
class Series:
    """One MR series.

    Attributes
    ----------
    image : float32 (slice, row, column). positions_mm : (slice, 3), LPS centre of the first voxel of every slice.
    orientations : (slice, 6), direction of a row and of a column. inversion_time_ms : None without inversion.
    """

    folder: str
    description: str
    image: np.ndarray
    positions_mm: np.ndarray
    orientations: np.ndarray
    pixel_mm: float
    thickness_mm: float
    step_mm: float
    echo_time_ms: float
    repetition_time_ms: float
    inversion_time_ms: float | None = None
    echo_train: int = 17


def sagittal_t2(patient: LumbarPatient) -> Series:
    """Return the patient's own series."""
    return _sagittal(patient, patient.image, "sag-t2", "T2 TSE SAG", patient.echo_time_ms, patient.repetition_time_ms)


def companion_series(patient: LumbarPatient) -> list[Series]:
    """Return T1 sagittal, STIR sagittal and axial T2 of the same examination (draws the anatomy again)."""
    anatomy = draw_lumbar(patient.seed, patient.anatomy_preset)
    pack = draw_pack(stream(patient.seed, patient.preset, 2, patient.look_seed), anatomy, patient.preset)
    rng = stream(patient.seed, patient.preset, 3, patient.look_seed)
    look = draw_look(rng, anatomy, patient.preset)
    t1 = acquire(anatomy, pack, replace(look, grey=grey_values(anatomy, "t1"), flow=0.0), Sampler(anatomy, pack), rng)
    stir = acquire(anatomy, pack, replace(look, grey=grey_values(anatomy, "stir")), Sampler(anatomy, pack), rng)
    return [
        replace(_sagittal(patient, t1, "sag-t1", "T1 TSE SAG", 11.0, 560.0), echo_train=3),
        replace(_sagittal(patient, stir, "sag-stir", "T2 STIR SAG", 60.0, 4200.0), inversion_time_ms=170.0),
        _axial(anatomy, pack, replace(look, grey=grey_values(anatomy, "t2")), patient, rng),
    ]


def _sagittal(patient: LumbarPatient, image: np.ndarray, folder: str, description: str, te: float, tr: float) -> Series:
    count = patient.image.shape[0]
    positions = np.array(patient.origin_mm) + np.arange(count)[:, None] * np.array([patient.spacing_mm[0], 0.0, 0.0])
    return Series(
        folder=folder,
        description=description,
        image=image,
        positions_mm=positions,
        orientations=np.tile(SAGITTAL, (count, 1)),
        pixel_mm=patient.spacing_mm[1],
        thickness_mm=patient.slice_thickness_mm,
        step_mm=patient.spacing_mm[0],
        echo_time_ms=te,
        repetition_time_ms=tr,
    )


def _axial(anatomy: LumbarAnatomy, pack: Pack, look: Look, patient: LumbarPatient, rng: np.random.Generator) -> Series:
    """Sample a block of slices across every lumbar disc, from the lowest disc up, each at the disc's own angle."""
    images, positions, orientations = [], [], []
    for centre, left, back, up in anatomy.disc_planes_mm[: int(anatomy.notes["lumbar_count"])].astype(float):
        for number in range(_AXIAL_SLICES):
            middle = centre + 22.0 * back + up * _AXIAL_STEP_MM * (number - (_AXIAL_SLICES - 1) / 2)
            images.append(_plane(anatomy, look, middle, left, back, up))
            corner = middle - (left + back) * _AXIAL_PIXEL_MM * (_AXIAL_SIZE - 1) / 2
            positions.append(_as_scanned(corner, pack, point=True))
            rows, columns = (_as_scanned(v, pack, point=False) for v in (left, back))
            orientations.append(np.concatenate([rows, columns]))
    image = np.array(images)
    image += np.abs(look.noise * rng.standard_normal(image.shape, np.float32))
    return Series(
        folder="ax-t2",
        description="T2 TSE TRA",
        image=np.asarray(image * look.scale, np.float32),
        positions_mm=np.array(positions),
        orientations=np.array(orientations),
        pixel_mm=_AXIAL_PIXEL_MM,
        thickness_mm=4.0,
        step_mm=_AXIAL_STEP_MM,
        echo_time_ms=patient.echo_time_ms,
        repetition_time_ms=patient.repetition_time_ms,
    )


def _plane(
    anatomy: LumbarAnatomy, look: Look, middle: np.ndarray, left: np.ndarray, back: np.ndarray, up: np.ndarray
) -> np.ndarray:
    """Return the mean of three thin planes across the slab, (row, column): rows run backwards, columns to the left."""
    steps = (np.arange(_AXIAL_SIZE) - (_AXIAL_SIZE - 1) / 2) * _AXIAL_PIXEL_MM
    total = np.zeros((_AXIAL_SIZE, _AXIAL_SIZE), np.float32)
    signs = np.array([1.0, -1.0, 1.0])  # x grows with the slice, z falls with the row, y grows with the column
    start = np.array([anatomy.origin_mm[0], anatomy.origin_mm[2], anatomy.origin_mm[1]])
    for offset in (-1.3, 0.0, 1.3):
        points = middle + up * offset + steps[:, None, None] * back + steps[None, :, None] * left
        index = (points[..., [0, 2, 1]] - start) * signs / np.array(anatomy.spacing_mm)
        labels = ndimage.map_coordinates(anatomy.labels, np.moveaxis(index, -1, 0), order=0, mode="constant")
        total += look.grey[labels] / 3
    return ndimage.gaussian_filter(total, 0.5)


def _as_scanned(vector: np.ndarray, pack: Pack, *, point: bool) -> np.ndarray:
    """Turn a point or direction of the drawing into the scanner's space (inverse of `Sampler.plane`'s rotation)."""
    pivot = np.array([0.0, pack.pivot_mm[0], pack.pivot_mm[1]]) if point else np.zeros(3)
    c, s = np.cos(pack.turn_rad), np.sin(pack.turn_rad)
    x, y, z = vector - pivot
    return np.array([x, c * y + s * z, c * z - s * y]) + pivot
