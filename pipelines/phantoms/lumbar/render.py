"""Scans a drawn anatomy: thick slices through it, coil, artefacts and noise; and the truth on the same grid.

Each slice is the average over its slab of the drawing, weighted by a soft slab profile, then seen through the point
spread and sampled on the scan's pixels; then come fat shift, coil, ghosts, noise and gamma. Truth is `scan_truth`'s.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from pipelines.phantoms.lumbar.draw import draw_lumbar
from pipelines.phantoms.lumbar.looks import FAT, Look, draw_look
from pipelines.phantoms.lumbar.patient import LumbarAnatomy, LumbarPatient
from pipelines.phantoms.lumbar.plan import stream
from pipelines.phantoms.lumbar.protocol import Pack, Sampler, draw_pack
from pipelines.phantoms.lumbar.scan_truth import cut_bodies, truth


def simulate_lumbar(seed: int, preset: str = "train") -> LumbarPatient:
    """Return one simulated patient's sagittal T2 series with truth; deterministic.

    Parameters
    ----------
    preset : `train`, `held_out` (other scanner settings, to be used with seeds of its own) or `domain_shift`.

    Raises
    ------
    ValueError
        If the preset does not exist.
    """
    return render_lumbar(draw_lumbar(seed, preset), 0, preset)


def render_lumbar(anatomy: LumbarAnatomy, look_seed: int, preset: str = "train") -> LumbarPatient:
    """Return another scan of the same anatomy: slice pack, contrast, coil, artefacts and noise follow `look_seed`."""
    rng = stream(anatomy.seed, preset, 2, look_seed)
    pack = draw_pack(rng, anatomy, preset)
    look = draw_look(rng, anatomy, preset)
    sampler = Sampler(anatomy, pack)
    image = acquire(anatomy, pack, look, sampler, rng)
    structures, levels, names = truth(anatomy, sampler)
    notes = anatomy.notes | {
        "look": look.mode,
        "levels": list(names),
        "cut_by_the_field": cut_bodies(structures, levels, names),
        "turn_deg": round(float(np.degrees(pack.turn_rad)), 1),
    }
    return LumbarPatient(
        image=image,
        structures=structures,
        levels=levels,
        level_names=names,
        spacing_mm=(pack.step_mm, pack.pixel_mm, pack.pixel_mm),
        slice_thickness_mm=pack.thickness_mm,
        origin_mm=pack.origin_mm,
        echo_time_ms=pack.echo_time_ms,
        repetition_time_ms=pack.repetition_time_ms,
        seed=anatomy.seed,
        look_seed=look_seed,
        anatomy_preset=anatomy.preset,
        preset=preset,
        notes=notes,
    )


def acquire(anatomy: LumbarAnatomy, pack: Pack, look: Look, sampler: Sampler, rng: np.random.Generator) -> np.ndarray:
    """Return the image, float32 (slice, row, column)."""
    everything = (slice(0, pack.rows), slice(0, pack.columns))
    fine = anatomy.spacing_mm[1]
    sigma = np.hypot(look.blur_mm, 0.30 * pack.pixel_mm) / fine
    fat = np.array([t in FAT for t in anatomy.tissues] + [False] * (256 - len(anatomy.tissues)))
    grain = _grain(rng)
    shift = look.shift_px * pack.pixel_mm / fine
    bias = _coil(anatomy, pack, look)
    flow = _flow(anatomy, look)
    image = np.empty((pack.slices, pack.rows, pack.columns), np.float32)
    for number in range(pack.slices):
        first, weights = sampler.slab(number)
        labels = anatomy.labels[first : first + len(weights)]
        plane = _slab_mean(labels, weights, look, grain, first, flow, fat if shift else None, shift)
        plane = ndimage.gaussian_filter(plane, sigma, mode="nearest", truncate=3.0)
        image[number] = sampler.sample(plane, everything, (0, 0), "nearest")
        image[number] *= _lateral(look, number, pack)
    if look.breathing_mm:
        _breathe(image, anatomy, pack, look.breathing_mm / pack.pixel_mm)
    image *= bias
    _ghost(image, look)
    noise = np.float32(look.noise * _at_spine(bias, anatomy, pack))
    real = image + noise * rng.standard_normal(image.shape, np.float32)
    image = np.hypot(real, noise * rng.standard_normal(image.shape, np.float32))
    top = float(np.percentile(image[:, ::4, ::4], 99.5)) or 1.0
    image = (image / top) ** np.float32(look.gamma) + np.float32(look.offset)
    return np.asarray(image * look.scale, np.float32)


def _slab_mean(
    labels: np.ndarray,
    weights: np.ndarray,
    look: Look,
    grain: np.ndarray,
    first: int,
    flow: np.ndarray,
    fat: np.ndarray | None,
    shift: float,
) -> np.ndarray:
    """Average a slab's signal; fat is moved along the rows by the chemical shift (in drawn pixels)."""
    total = np.zeros(labels.shape[1:], np.float32)
    moved = np.zeros(labels.shape[1:], np.float32)
    reps = [-(-n // g) for n, g in zip(labels.shape[1:], grain.shape[1:], strict=True)]
    for layer, weight in zip(labels, weights, strict=True):
        speckle = np.tile(grain[first % grain.shape[0]], reps)[: layer.shape[0], : layer.shape[1]]
        signal = look.grey[layer] * (1 + look.texture[layer] * speckle)
        signal *= flow[layer, np.arange(layer.shape[0])[:, None]] if flow.size else np.float32(1)
        if fat is not None:
            share = np.where(fat[layer], signal, np.float32(0))
            moved += weight * share
            signal -= share
        total += weight * signal
        first += 1
    if fat is not None:
        total += ndimage.shift(moved, (shift, 0), order=1, mode="nearest")
    return np.maximum(total, 0)


def _grain(rng: np.random.Generator) -> np.ndarray:
    """Return a periodic block of texture of unit variance, of two scales."""
    block = rng.standard_normal((16, 144, 144), np.float32)
    fine = ndimage.gaussian_filter(block, (0.7, 0.9, 0.9), mode="wrap")
    coarse = ndimage.gaussian_filter(block, (1.5, 3.5, 3.5), mode="wrap")
    mixed = fine / fine.std() * np.float32(0.75) + coarse / coarse.std() * np.float32(0.65)
    return np.asarray(mixed, np.float32)


def _flow(anatomy: LumbarAnatomy, look: Look) -> np.ndarray:
    """Return a factor per label and drawn row: flow of the fluid takes signal from parts of the sac."""
    if look.flow == 0:
        return np.zeros(0, np.float32)
    rows = np.arange(anatomy.labels.shape[1])
    out = np.ones((256, rows.size), np.float32)
    wave = 1 - look.flow * np.clip(np.sin(rows / 37 + look.elements[2]), 0, 1)
    for index, tissue in enumerate(anatomy.tissues):
        if tissue in ("csf", "root fluid"):
            out[index] = wave
    return out


def _coil(anatomy: LumbarAnatomy, pack: Pack, look: Look) -> np.ndarray:
    """Return the sensitivity of a spine coil behind the back, (row, column), and the anterior saturation band."""
    z = pack.origin_mm[2] - pack.pixel_mm * np.arange(pack.rows)
    y = pack.origin_mm[1] + pack.pixel_mm * np.arange(pack.columns)
    depth = np.clip(anatomy.back_mm - y, -20, None) / 1000
    near = 1 / (1 + (look.coil_per_m * np.maximum(depth, -0.02)))
    near = near**1.3
    size, wave, phase = look.elements
    along = 1 + size * np.sin(2 * np.pi * z / wave + phase)
    if look.fade_mm:
        edge = np.minimum(z - z[-1], z[0] - z)
        along = along * (0.25 + 0.75 / (1 + np.exp(-(edge - look.fade_mm * 0.5) / (look.fade_mm * 0.25))))
    band_y, factor = look.band
    band = factor + (1 - factor) / (1 + np.exp(-(y - band_y) / 3.0))
    return np.asarray(along[:, None] * (near * band)[None, :], np.float32)


def _at_spine(bias: np.ndarray, anatomy: LumbarAnatomy, pack: Pack) -> float:
    """Return the coil's typical sensitivity along the spine; noise is set against the signal there."""
    column = int((float(np.mean(anatomy.spine_mm[:, 1])) - pack.origin_mm[1]) / pack.pixel_mm)
    return float(np.median(bias[:, np.clip(column, 0, pack.columns - 1)]))


def _breathe(image: np.ndarray, anatomy: LumbarAnatomy, pack: Pack, sigma_px: float) -> None:
    """Blur the belly along z, in place: it moves with the breath while the spine lies still."""
    z = pack.origin_mm[2] - pack.pixel_mm * np.arange(pack.rows)
    y = pack.origin_mm[1] + pack.pixel_mm * np.arange(pack.columns)
    spine = np.interp(z, anatomy.spine_mm[:, 2], anatomy.spine_mm[:, 1])
    share = np.clip((spine[:, None] - 32 - y[None, :]) / 12, 0, 1).astype(np.float32)
    blurred = ndimage.gaussian_filter1d(image, sigma_px, axis=1, mode="nearest", truncate=2.5)
    image += share * (blurred - image)


def _lateral(look: Look, number: int, pack: Pack) -> np.float32:
    """Signal of a slice against its neighbours: the coil's sideways fall and the order of excitation."""
    share = (number + 0.5) / pack.slices * 2 - 1
    return np.float32(np.exp(0.06 * look.lateral[0] * share) * np.exp(-(share**2) * look.lateral[1] / 100))


def _ghost(image: np.ndarray, look: Look) -> None:
    axis = 1 if look.ghost_along_rows else 2
    copies = [
        np.roll(image, int(share * image.shape[axis]), axis) * np.float32(amplitude) for share, amplitude in look.ghosts
    ]
    for copy in copies:
        image += copy
