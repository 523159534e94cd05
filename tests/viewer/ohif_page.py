"""OHIF in a browser, as a physician uses it: open a study, load an overlay, scroll, look at the picture.

Only what is on the screen is looked at: image content shows where a source pixel is, colour shows the overlay.
Nothing is asked of the viewer's own code, so a mistake in it cannot hide one of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from deploy.ohif.serve import OhifServer

PATIENCE_S = 150.0
POLL_S = 0.25

TOP_BAR = 110
"""Pixels at the viewport's top that the viewer's questions cover."""

BOTTOM_BAR = 70
UPRIGHT_HALF_WIDTH = 180
SQUARE_HALF_WIDTH = 400
"""Half the width of a picture in the middle of the viewport; the viewer's texts and sliders are beside it."""

BRIGHT = 90
"""A hot source pixel stays brighter than this in its darkest channel, also under a half transparent colour."""

COLOURED = 50
"""Difference between a colour's own channel and the others that no grey picture has."""

PAGE_SCRIPT = """
window.addEventListener('unhandledrejection', e => console.error('UNHANDLED ' + (e.reason && e.reason.stack)));
document.addEventListener('DOMContentLoaded', () => {
  const style = document.createElement('style');
  style.textContent = '.shepherd-modal-overlay-container, .shepherd-element { display: none !important }';
  document.head.appendChild(style);
});
"""
"""Rejections that nobody handles are noted, and the guided tour that lies over a first visit is kept away."""


class OhifPage:
    """One page of the viewer."""

    def __init__(self, page: Any, server: OhifServer) -> None:
        self.half_width = UPRIGHT_HALF_WIDTH
        self._page = page
        self._server = server
        self.troubles: list[str] = []
        page.add_init_script(PAGE_SCRIPT)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda message: self._note(message))

    def _note(self, message: Any) -> None:
        if message.type == "error":
            self.troubles.append(message.text)

    def open_study(self, study_instance_uid: str) -> None:
        """Open a study and put away the disclaimer that covers its lower part."""
        self._page.goto(self._server.study_url(study_instance_uid), timeout=PATIENCE_S * 1000)
        self._page.wait_for_selector('[data-cy="study-browser-thumbnail"]', timeout=PATIENCE_S * 1000)
        self._page.get_by_text("Confirm and hide").click(timeout=PATIENCE_S * 1000)
        self.wait_until(lambda: (self.picture().max(axis=2) > BRIGHT).any(), "an image on the screen")

    def load_series(self, modality: str) -> None:
        """Double-click on the series of a modality that has no thumbnail of its own (SEG, SR)."""
        thumbnail = self._page.locator('[data-cy="study-browser-thumbnail-no-image"]').filter(has_text=modality)
        thumbnail.first.dblclick(timeout=PATIENCE_S * 1000)

    def answer(self, word: str) -> None:
        """Press a button of the viewer's question in the viewport."""
        self._page.get_by_role("button", name=word, exact=True).first.click(timeout=PATIENCE_S * 1000)

    def scroll(self, steps: int) -> None:
        """Turn the mouse wheel over the picture."""
        box = self._viewport()
        self._page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self._page.mouse.wheel(0, 120 * steps)

    def picture(self) -> np.ndarray:
        """uint8 (row, column, RGB): the middle of the viewport as it is on the screen."""
        box = self._viewport()
        middle = box["x"] + box["width"] / 2
        clip = {
            "x": middle - self.half_width,
            "y": box["y"] + TOP_BAR,
            "width": 2 * self.half_width,
            "height": box["height"] - TOP_BAR - BOTTOM_BAR,
        }
        return np.array(Image.open(BytesIO(self._page.screenshot(clip=clip))).convert("RGB"))

    def open_segment_list(self) -> None:
        """Open the panel at the right that lists segments by name."""
        tab = self._page.locator('[data-cy^="panelSegmentation"][data-cy$="-btn"]')
        tab.first.click(timeout=PATIENCE_S * 1000)

    def wait_for_text(self, text: str) -> None:
        """Wait until a text can be read somewhere on the page, scrolled to if need be."""
        found = self._page.get_by_text(text, exact=True).first
        found.scroll_into_view_if_needed(timeout=PATIENCE_S * 1000)
        found.wait_for(state="visible", timeout=PATIENCE_S * 1000)

    def save(self, path: Any) -> None:
        """Keep a screenshot of the whole page."""
        self._page.screenshot(path=path)

    def wait_until(self, condition: Callable[[], bool], what: Callable[[], str] | str) -> None:
        """Poll until the condition holds; AssertionError with what was waited for and what the page said."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                missed = what if isinstance(what, str) else what()
                raise AssertionError(f"no {missed} within {PATIENCE_S:.0f} s; the page said {self.troubles}")
            self._page.wait_for_timeout(POLL_S * 1000)

    def _viewport(self) -> dict[str, float]:
        pane = self._page.locator('[data-cy="viewport-pane"]').first
        box = pane.bounding_box(timeout=PATIENCE_S * 1000)
        assert box is not None, "there is no viewport"
        return box


def bright(picture: np.ndarray) -> np.ndarray:
    """Where hot source pixels are, under an overlay or not."""
    return picture.min(axis=2) > BRIGHT


def channel_mask(picture: np.ndarray, channel: int) -> np.ndarray:
    """Where one channel (0 red, 1 green, 2 blue) stands out: an overlay of that colour."""
    values = picture.astype(int)
    others = np.delete(values, channel, axis=2).max(axis=2)
    return values[..., channel] - others > COLOURED


def any_colour(picture: np.ndarray) -> np.ndarray:
    """Where the picture is not grey."""
    values = picture.astype(int)
    return values.max(axis=2) - values.min(axis=2) > COLOURED


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union; 0 where both are empty."""
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0


def to_screen(label_map: np.ndarray, hot: np.ndarray) -> np.ndarray | None:
    """The label map of one frame in screen pixels, fitted to the hot pixels of the picture by their bounding boxes.

    Scale and place are taken from the image content; no turning or flipping is tried. None if nothing is hot.
    """
    transform = screen_transform(label_map > 0, hot)
    if transform is None:
        return None
    return placed(label_map, transform, hot.shape)


def placed(label_map: np.ndarray, transform: tuple[float, float, float], size: tuple[int, ...]) -> np.ndarray:
    """The label map of one frame in screen pixels, at the place that `screen_transform` found."""
    scale, top, left = transform
    rows = np.floor((np.arange(size[0]) + 0.5 - top) / scale).astype(int)
    columns = np.floor((np.arange(size[1]) + 0.5 - left) / scale).astype(int)
    inside = ((rows >= 0) & (rows < label_map.shape[0]))[:, None] & (columns >= 0) & (columns < label_map.shape[1])
    values = label_map[np.clip(rows, 0, label_map.shape[0] - 1)][:, np.clip(columns, 0, label_map.shape[1] - 1)]
    return np.where(inside, values, 0)


def screen_transform(mask: np.ndarray, hot: np.ndarray) -> tuple[float, float, float] | None:
    """(screen pixels per source pixel, screen row of source row 0, screen column of source column 0)."""
    if not hot.any():
        return None
    screen_rows, screen_columns = np.nonzero(hot)
    rows, columns = np.nonzero(mask)
    scale = (np.ptp(screen_rows) + 1) / (np.ptp(rows) + 1)
    return scale, screen_rows.min() - rows.min() * scale, screen_columns.min() - columns.min() * scale
