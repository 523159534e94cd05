"""A frame and another modality on it -> the pictures that a reader compares: the frame, the other, both at once."""

from __future__ import annotations

import numpy as np

from pipelines.contract import Segmentation

STRENGTH = 0.65
"""Opacity of the hottest place: the bone under it stays visible."""


def pictures_of(segmentation: Segmentation, frame: int) -> list[tuple[np.ndarray, str]]:
    """Return uint8 (row, column, 3) pictures of a frame without outlines, each with what it is called.

    One, without a name, where there is no other modality; else three.
    """
    grey = segmentation.display[frame]
    if segmentation.display_inverted:
        grey = 255 - grey
    base = np.repeat(grey[:, :, None], 3, 2)
    if not segmentation.key_overlays or frame not in segmentation.key_frames:
        return [(base, "")]
    overlay = segmentation.key_overlays[segmentation.key_frames.index(frame)]
    name = segmentation.overlay_name
    alone = np.repeat(255 - overlay[:, :, None], 3, 2)
    return [(base, ""), (alone, name), (laid_over(base, overlay), f"with {name}" if name else "both")]


def laid_over(base: np.ndarray, overlay: np.ndarray) -> np.ndarray:
    """Lay a warm colour over a picture, the stronger the higher the other modality: from dark red to yellow."""
    level = overlay[:, :, None].astype(np.float32) / 255
    warm = np.concatenate([255 * np.ones_like(level), 235 * level, 60 * level], 2)
    opacity = STRENGTH * np.sqrt(level)
    return np.asarray(np.rint(base * (1 - opacity) + warm * opacity), np.uint8)
