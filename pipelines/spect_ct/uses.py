"""The three uses of one network: SPECT alone, CT alone, both. Names only; imported by everything else here."""

from __future__ import annotations

SPECT, CT, FUSED = "spect", "ct", "spect-ct"
USES = (SPECT, CT, FUSED)
TITLES = {SPECT: "SPECT", CT: "CT", FUSED: "SPECT/CT"}


def shown(use: str) -> tuple[bool, bool]:
    """Return whether a use shows the network the SPECT, and the CT."""
    return use != CT, use != SPECT
