"""The pictures of docs/dashboard.md, out of the screenshots of a walk: English and light beside Chinese and dark.

    OSTEON_SCREENSHOTS=/tmp/shots python -m pytest tests/dashboard/test_walk.py
    python -m tests.dashboard.sheets /tmp/shots docs/dashboard

Each page is cut at a screen's height or two and saved with 256 colours, so that the whole folder stays small.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

WIDTH, GAP = 760, 12
TALLEST = 1000
"""Pixels of the sheet; what lies below on a long page is more of the same, but for a job's."""

WHOLE = {"jobs-one": 2100, "overview": 1250}
COLOURS = 256
LEFT, RIGHT = "-en-light", "-zh-dark"


def sheet(pictures: list[Path], tallest: int) -> Image.Image:
    """The pictures side by side."""
    shown = []
    for path in pictures:
        picture = Image.open(path).convert("RGB")
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        shown.append(picture.crop((0, 0, WIDTH, min(picture.height, tallest))))
    width = len(shown) * WIDTH + (len(shown) - 1) * GAP
    made = Image.new("RGB", (width, max(one.height for one in shown)), "white")
    for place, one in enumerate(shown):
        made.paste(one, (place * (WIDTH + GAP), 0))
    return made


def main(shots: Path, out: Path) -> None:
    """Write a sheet for every page, and one for each picture that stands alone."""
    out.mkdir(parents=True, exist_ok=True)
    for path in sorted(shots.glob("*.png")):
        name = path.stem
        if name.endswith(LEFT):
            name = name.removesuffix(LEFT)
            pictures = [path, path.with_name(f"{name}{RIGHT}.png")]
        elif name == "setup":
            pictures = [path, path.with_name("login.png")]
        elif name.endswith((RIGHT, "-en-dark", "-zh-light")) or name == "login":
            continue
        else:
            pictures = [path]
        made = sheet(pictures, WHOLE.get(name, TALLEST))
        few = made.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        few.save(out / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
