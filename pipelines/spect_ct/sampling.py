"""What the network sees while it learns: crops out of cached slices, augmented, each shown for one of the three uses.

use -> patient -> a lesion that the use shows, near the middle of the crop (or, for some, a warm or dense place on a
slice that shows it none; or, where that is known, a place where weights to go on from err) -> rotated, scaled,
mirrored, once -> appearance of each modality (gain, offset, blur, noise) -> the modality that the use does not have set
to 0. Truth is that of the use: the outline on SPECT, on CT, or on the fused images.

The paper's augmentation is rotation within 15 degrees, mirroring both ways and Gaussian noise; the rest is for what
differs between scanners. Mirroring is the same for both modalities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pipelines.spect_ct.bone import BLOCK
from pipelines.spect_ct.dataset import INPUT_LAYERS, SCALE, TRUTH_LAYER, CachedPatient, Spot, read_patient
from pipelines.spect_ct.hard_places import ERROR_BLOCK, Errors, warm_or_dense
from pipelines.spect_ct.neighbours import SEEN_SLICES
from pipelines.spect_ct.networks import CHANNELS
from pipelines.spect_ct.uses import CT, FUSED, SPECT, USES, shown
from pipelines.training.augment_slices import blur, sample_image, sample_labels, sampling_grid
from pipelines.training.errors import drawing_chances

SINGLE_MIX: Mapping[str, float] = {SPECT: 0.5, CT: 0.5}
"""Before the transfer: one network learns both modalities, one at a time."""

FUSED_MIX: Mapping[str, float] = {FUSED: 0.4, SPECT: 0.3, CT: 0.3}
"""After it: pairs, and enough of each alone that the network still knows what to do when one is missing."""

PAIRS_ONLY: Mapping[str, float] = {FUSED: 1.0}

LARGEST_JITTER_MM = 64.0
FOUND_WEIGHT = 0.1
"""How often a lesion that is found is drawn beside one that is missed altogether, where that is known."""

HARD_SHARE = 0.5
"""Share of the crops that lie where the weights to go on from err, if that is known."""


@dataclass(frozen=True)
class SampleSettings:
    """Ranges of the augmentation; every draw is independent.

    side : pixels (mm) of a crop. slices : seen at once, 1 or `neighbours.SEEN_SLICES`. negatives : share of crops from
        slices without a lesion. rotate_deg, scale : geometry.
    gain, offset : of a modality's z-scores. noise : largest standard deviation, drawn for `noise_share`.
    blur_pixels : largest, drawn for `blur_share`.
    """

    side: int = 128
    slices: int = SEEN_SLICES
    negatives: float = 0.3
    rotate_deg: float = 15.0
    scale: tuple[float, float] = (0.9, 1.12)
    mirror: float = 0.5
    gain: tuple[float, float] = (0.9, 1.1)
    offset: float = 0.1
    noise: float = 0.15
    noise_share: float = 0.5
    blur_pixels: float = 1.0
    blur_share: float = 0.15


PAPER_SAMPLES = SampleSettings(
    side=256, slices=1, scale=(1.0, 1.0), gain=(1.0, 1.0), offset=0.0, noise=0.1, blur_share=0.0
)


@dataclass(frozen=True)
class _Held:
    """A patient ready to be drawn from: its lesions by use and label, and the slices that show a use none."""

    patient: CachedPatient
    lesions: dict[str, list[list[Spot]]]
    empty: dict[str, list[int]]


class CropSampler:
    """Draws batches from the patients of a cache.

    `next` gives input float32 (n, 2 for each slice seen, side, side) and truth float32 (n, 1, side, side). Patients are
    drawn alike, then their lesions alike, whatever their size; of a lesion its larger sections more often. `errors`:
    of the patients, None where nothing is known; then missed lesions are drawn more often (`FOUND_WEIGHT`).

    Raises
    ------
    FileNotFoundError
        If none of the patients is in the cache.
    """

    def __init__(
        self, folder: Path, seeds: Sequence[int], mix: Mapping[str, float], settings: SampleSettings, batch: int,
        seed: int, errors: Errors | None = None,
    ) -> None:  # fmt: skip
        if not seeds:
            raise FileNotFoundError(f"{folder} holds none of the patients asked for; build the cache first")
        self.settings, self.batch = settings, batch
        self.rng = np.random.default_rng(seed)
        self.uses, self.odds = list(mix), np.array(list(mix.values())) / sum(mix.values())
        self.held = [_hold(read_patient(folder, one)) for one in seeds]
        self.errors = errors
        self.chances, self.missed = {}, {}
        if errors is not None:
            for number, use in enumerate(USES):
                self.chances[use] = drawing_chances([one[number] for one in errors.places])
                self.missed[use] = _by_miss(self.held, use, [one[number] for one in errors.missed])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        return self

    def __next__(self) -> tuple[torch.Tensor, torch.Tensor]:
        pairs = [self._draw() for _ in range(self.batch)]
        images = torch.stack([image for image, _ in pairs]).contiguous(memory_format=torch.channels_last)
        return images, torch.stack([truth for _, truth in pairs])

    def _draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        use = str(self.rng.choice(self.uses, p=self.odds))
        if self.errors is not None and self.rng.random() < HARD_SHARE:
            return self._draw_hard(use, self.errors.places)
        negative = self.rng.random() < self.settings.negatives
        holders = [one for one in self.held if (one.empty[use] if negative else one.lesions[use])]
        if not holders:
            negative, holders = not negative, self.held
        held = holders[int(self.rng.integers(len(holders)))]
        lesions = held.lesions[use]
        if negative or not lesions:
            slices = held.empty[use] or list(range(len(held.patient.layers)))
            number = slices[int(self.rng.integers(len(slices)))]
            return draw_crop(held.patient, number, use, self._confounder(held, number, use), self.settings, self.rng)
        if self.missed:
            candidates, odds = self.missed[use]
            held, sections = candidates[int(self.rng.choice(len(candidates), p=odds))]
        else:
            sections = lesions[int(self.rng.integers(len(lesions)))]
        sizes = np.sqrt([spot.pixels for spot in sections])
        spot = sections[int(self.rng.choice(len(sections), p=sizes / sizes.sum()))]
        return draw_crop(held.patient, spot.slice, use, (spot.row, spot.column), self.settings, self.rng)

    def _draw_hard(self, use: str, errors: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw a block of a patient's slices as often as it is wrong."""
        index = int(self.rng.choice(len(self.held), p=self.chances[use]))
        wrong = errors[index][USES.index(use)].astype(np.float64)
        total = wrong.sum()
        block = int(self.rng.choice(wrong.size, p=wrong.reshape(-1) / total if total > 0 else None))
        number, row, column = (int(i) for i in np.unravel_index(block, wrong.shape))
        about = ((row + 0.5) * ERROR_BLOCK, (column + 0.5) * ERROR_BLOCK)
        return draw_crop(self.held[index].patient, number, use, about, self.settings, self.rng)

    def _confounder(self, held: _Held, number: int, use: str) -> tuple[float, float] | None:
        """Return a place on a slice that is warm or dense; None where there is none."""
        places = np.argwhere(warm_or_dense(held.patient.layers[number : number + 1], use)[0])
        if not len(places):
            return None
        row, column = places[int(self.rng.integers(len(places)))]
        return float(row + 0.5) * BLOCK, float(column + 0.5) * BLOCK


def draw_crop(
    patient: CachedPatient, number: int, use: str, about: tuple[float, float] | None, settings: SampleSettings,
    rng: np.random.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return one augmented crop: input float32 (2 for each slice seen, side, side) and truth float32 (1, side, side).

    Parameters
    ----------
    number : slice of the patient's layers. about : row and column that the crop shall show; None for anywhere.
    """
    rows, columns = patient.layers.shape[2:]
    side = settings.side
    if about is None:
        about = float(rng.uniform(0.2, 0.8) * rows), float(rng.uniform(0.2, 0.8) * columns)
        jitter = 0.0
    else:
        jitter = min(LARGEST_JITTER_MM, side / 2 - 12)
    middle = np.array(about) + rng.uniform(-jitter, jitter, 2)
    zoom = math.exp(rng.uniform(*np.log(settings.scale)))
    half = side / 2 / zoom
    reach = math.ceil(half * 1.5) + 2
    # Only the part of the slice that the turned crop can touch is read from disk.
    top, left = (max(0, int(m) - reach) for m in middle)
    bottom, right = (min(n, int(m) + reach) for m, n in zip(middle, (rows, columns), strict=True))
    if bottom <= top or right <= left:
        top, left, bottom, right = 0, 0, rows, columns
    part = np.array(patient.layers[number, :, top:bottom, left:right])
    centre = middle - (top, left)
    turn = math.radians(rng.uniform(-settings.rotate_deg, settings.rotate_deg))
    region = (centre[0] - half, centre[0] + half, centre[1] - half, centre[1] + half)
    points = sampling_grid(region, turn, (centre[0], centre[1]), part.shape[1:], (side, side), 0.0, rng)
    for axis in (0, 1):
        if rng.random() < settings.mirror:
            points = points.flip(axis)
    channels = INPUT_LAYERS[: len(CHANNELS) * settings.slices]
    image = sample_image(torch.from_numpy(part[channels, ...].astype(np.float32) / SCALE), points)
    truth = sample_labels(torch.from_numpy(part[TRUTH_LAYER[use]][None].astype(np.float32)), points) > 0
    return _appearance(image, use, settings, rng), truth.float()


def _appearance(image: torch.Tensor, use: str, settings: SampleSettings, rng: np.random.Generator) -> torch.Tensor:
    """Change each modality by itself and blank the one that the use does not show."""
    for channel, there in enumerate(shown(use)):
        # All slices of a modality, below, of and above the crop's.
        planes = image[channel :: len(CHANNELS)]
        if not there:
            planes.zero_()
            continue
        gain = math.exp(rng.uniform(*np.log(settings.gain)))
        planes.mul_(gain).add_(float(rng.uniform(-settings.offset, settings.offset)))
        if rng.random() < settings.blur_share:
            sigma = float(rng.uniform(0.3, settings.blur_pixels))
            planes.copy_(blur(planes, sigma, sigma))
        if rng.random() < settings.noise_share:
            deviation = float(rng.uniform(0, settings.noise))
            planes.add_(torch.from_numpy(rng.standard_normal(tuple(planes.shape), dtype=np.float32)) * deviation)
    return image


def _by_miss(
    held: Sequence[_Held], use: str, missed: Sequence[np.ndarray]
) -> tuple[list[tuple[_Held, list[Spot]]], np.ndarray]:
    """Return all lesions that a use shows and the chance of each: its patient's, then by how far it is missed."""
    weights = [
        np.array([FOUND_WEIGHT + float(share[sections[0].label]) ** 2 for sections in one.lesions[use]])
        for one, share in zip(held, missed, strict=True)
    ]
    candidates = [(one, sections) for one in held for sections in one.lesions[use]]
    odds = [chance * own / own.sum() for chance, own in zip(drawing_chances(weights), weights, strict=True) if len(own)]
    return candidates, np.concatenate(odds) if odds else np.zeros(0)


def _hold(patient: CachedPatient) -> _Held:
    lesions: dict[str, list[list[Spot]]] = {}
    empty: dict[str, list[int]] = {}
    for use in TRUTH_LAYER:
        mine = [spot for spot in patient.spots if spot.use == use]
        labels = sorted({spot.label for spot in mine})
        lesions[use] = [[spot for spot in mine if spot.label == label] for label in labels]
        marked = {spot.slice for spot in mine}
        empty[use] = [number for number in range(len(patient.layers)) if number not in marked]
    return _Held(patient, lesions, empty)
