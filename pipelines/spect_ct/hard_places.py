"""Where weights that exist already err on cached slices: what training that goes on from them should see more of.

Crops about lesions show such a network little of what it marks falsely: kidneys, joints, ribs, the shoulder blade.
Before it goes on it looks at some slices of every patient, for each use at others, as inference does (`slice_errors`).

And it looks for every lesion once (`missed_lesions`). In proportion to wrong pixels the kinds that are missed whole are
rare among what is drawn: the weights of 8174 steps marked none of 52 lytic lesions of the held-out patients on CT, and
all but 2 of 207 osteophytes, fractures and worn joints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipelines.spect_ct.bone import BLOCK
from pipelines.spect_ct.dataset import SCALE, TRUTH_LAYER, CachedPatient, Spot, inputs_of
from pipelines.spect_ct.uses import FUSED, USES, blanked, shown

LOOKED_AT = 8
"""Slices of a patient that are looked at for each use, evenly spread over those kept: they resemble their
neighbours."""

ERROR_BLOCK = 16
"""Pixels (mm) along the sides of the blocks in which errors are summed; the grid's sides are multiples of it."""

WARM, DENSE = 0.5, 1.0
"""Values of the network's input (z-scores; SPECT's after asinh) from which a place is warm, or dense as bone."""

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Errors:
    """What a network gets wrong, by patient: `places` as `slice_errors`, `missed` as `missed_lesions` returns them."""

    places: list[np.ndarray]
    missed: list[np.ndarray]


class Network(Protocol):
    """What errs: `engine.LesionEngine`."""

    def probabilities(self, inputs: np.ndarray, *, where: np.ndarray | None = None) -> np.ndarray:
        """Return (slice, row, column) for inputs (slice, 6, row, column)."""


def warm_or_dense(layers: np.ndarray, use: str = FUSED) -> np.ndarray:
    """Return where, for a use, something could be mistaken for a lesion: bool (slice, rows / 4, columns / 4).

    Parameters
    ----------
    layers : int16 (slice, layer, row, column), as cached.
    """
    sees_spect, sees_ct = shown(use)
    spect, ct = (layers[:, channel, ::BLOCK, ::BLOCK] for channel in (0, 1))
    found = np.zeros(spect.shape, bool)
    if sees_spect:
        found |= spect >= WARM * SCALE
    if sees_ct:
        found |= ct >= DENSE * SCALE
    return found


def slice_errors(
    network: Network, patients: Sequence[CachedPatient], progress: Progress | None = None
) -> list[np.ndarray]:
    """Return, for each patient, how wrong the network is: float32 (use, slice, rows / 16, columns / 16).

    The uses are in the order of `USES`. The unit is pixels: sum over the block of |probability - truth|; 0 on slices
    that were not looked at.
    """
    return _of_each(_errors_of, "errors", network, patients, progress)


def largest_sections(patient: CachedPatient, use: str) -> dict[int, Spot]:
    """Return, by label, the largest kept section of each lesion that a use shows."""
    largest: dict[int, Spot] = {}
    for spot in patient.spots:
        if spot.use == use and (spot.label not in largest or spot.pixels > largest[spot.label].pixels):
            largest[spot.label] = spot
    return largest


def missed_lesions(
    network: Network, patients: Sequence[CachedPatient], progress: Progress | None = None
) -> list[np.ndarray]:
    """Return, for each patient, how far its lesions are missed: float32 (use, label), 0 (found) to 1.

    It is 1 - the mean probability over the lesion's largest section; 0 for labels that a use does not show.
    """
    return _of_each(_missed_of, "lesions", network, patients, progress)


def _of_each(
    look: Callable[[Network, CachedPatient], np.ndarray], what: str, network: Network,
    patients: Sequence[CachedPatient], progress: Progress | None,
) -> list[np.ndarray]:  # fmt: skip
    found = []
    for number, patient in enumerate(patients):
        found.append(look(network, patient))
        if progress is not None:
            progress((number + 1) / len(patients), f"looked for {what} in {number + 1} of {len(patients)} patients")
    return found


def _missed_of(network: Network, patient: CachedPatient) -> np.ndarray:
    missed = np.zeros((len(USES), 1 + max((spot.label for spot in patient.spots), default=0)), np.float32)
    for number, use in enumerate(USES):
        sections = largest_sections(patient, use)
        slices = sorted({spot.slice for spot in sections.values()})
        if not slices:
            continue
        held = np.array(patient.layers[slices])
        found = _seen(network, held, use)
        for label, spot in sections.items():
            place = slices.index(spot.slice)
            missed[number, label] = 1 - found[place][held[place, TRUTH_LAYER[use]] == label].mean()
    return missed


def _seen(network: Network, held: np.ndarray, use: str) -> np.ndarray:
    """Return what the network says of cached slices, float32 (slice, row, column)."""
    return network.probabilities(blanked(inputs_of(held), use), where=warm_or_dense(held, use)).astype(np.float32)


def _errors_of(network: Network, patient: CachedPatient) -> np.ndarray:
    slices, _, rows, columns = patient.layers.shape
    shape = (rows // ERROR_BLOCK, ERROR_BLOCK, columns // ERROR_BLOCK, ERROR_BLOCK)
    errors = np.zeros((len(USES), slices, shape[0], shape[2]), np.float32)
    looks = np.unique(np.linspace(0, slices - 1, LOOKED_AT * len(USES)).round().astype(int))
    for number, use in enumerate(USES):
        chosen = looks[number :: len(USES)]
        held = np.array(patient.layers[chosen])
        wrong = np.abs(_seen(network, held, use) - (held[:, TRUTH_LAYER[use]] > 0))
        errors[number, chosen] = wrong.reshape(len(chosen), *shape).sum((2, 4))
    return errors
