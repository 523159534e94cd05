"""The three uses of one network: SPECT alone, CT alone, both. Imported by everything else here."""

from __future__ import annotations

import numpy as np

SPECT, CT, FUSED = "spect", "ct", "spect-ct"
USES = (SPECT, CT, FUSED)
TITLES = {SPECT: "SPECT", CT: "CT", FUSED: "SPECT/CT"}


def shown(use: str) -> tuple[bool, bool]:
    """Return whether a use shows the network the SPECT, and the CT."""
    return use != CT, use != SPECT


def blanked(inputs: np.ndarray, use: str) -> np.ndarray:
    """Return inputs (slice, 2 for each slice seen, row, column) with the modality at 0 that a use does not show."""
    there = np.array(shown(use), inputs.dtype)
    return inputs * np.tile(there, inputs.shape[1] // len(there))[None, :, None, None]
