"""The overlay picture: source frames with outlined segments, side marks and a caption.

    display + label map --scale--> panel (grey, outlines, R/L) --side by side--> sheet + caption

Used for the PNG and for the secondary capture. No patient attribute is ever drawn. `display` is taken as high =
bright; where `display_inverted` is set it is shown dark = high, as bone scans are read. The words are made in
`node.results.caption`.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from node.errors import PermanentError
from node.results.caption import INK, PAPER, TEXT_SIZE, caption
from node.results.context import ResultContext
from node.results.fusion import pictures_of
from node.results.geometry import numbers, plane_geometry
from node.results.orientation import direction_letter, opposite, view_orientation
from node.results.table import draw_table
from pipelines.contract import Findings, Region, Segmentation, SourceSeries

PANEL_HEIGHT = 1200
PANEL_WIDTH = 620
"""Largest panel, in pixels: two upright whole-body views fill a screen's height, a square slice stays readable."""

MAX_PANELS = 6
PANELS_PER_ROW = 3
MOST_COMPARED = 3
"""Frames shown where each takes a row: the frame, the other modality, both."""

MARGIN = 14
TITLE_HEIGHT = 26
FRAME = (190, 190, 190)

SIDES = {"L": "left", "R": "right"}

MARK_EDGE = 2
"""Width of the dark edge around a mark, in pixels."""

SIDE_CAPTION_WIDTH = 440
"""Words stand beside upright pictures, so that the whole fits a screen, and below wide ones."""


@dataclass(frozen=True)
class _Panel:
    image: Image.Image
    title: str


def render_png(findings: Findings, context: ResultContext, index: int = 0) -> bytes:
    """The overlay picture of segmentation `index` as PNG (RGB)."""
    buffer = BytesIO()
    information = PngInfo()
    information.add_text("Software", f"osteon {context.node.software_version}")
    information.add_text("Comment", findings.research_statement)
    Image.fromarray(render(findings, context, index)).save(buffer, "PNG", pnginfo=information)
    return buffer.getvalue()


def render(findings: Findings, context: ResultContext, index: int = 0) -> np.ndarray:
    """The overlay picture of segmentation `index`.

    Returns
    -------
    numpy.ndarray
        uint8 (rows, columns, 3), RGB.
    """
    segmentation = findings.segmentations[index]
    sheet = _arrange([panel for frame in _frames(segmentation) for panel in _panels(findings, index, frame)])
    upright = sheet.height > sheet.width
    words = _words(findings, index, context, SIDE_CAPTION_WIDTH if upright else sheet.width - 2 * MARGIN)
    if upright:
        size = (sheet.width + words.width + MARGIN, max(sheet.height, words.height + 2 * MARGIN))
        place = (sheet.width, MARGIN)
    else:
        size = (sheet.width, sheet.height + words.height)
        place = (MARGIN, sheet.height)
    result = Image.new("RGB", size, PAPER)
    result.paste(sheet, (0, 0))
    result.paste(words, place)
    return np.asarray(result)


def _words(findings: Findings, index: int, context: ResultContext, width: int) -> Image.Image:
    """Caption, and the table beside it where the width allows, else above it."""
    segmentation = findings.segmentations[index]
    if findings.table is None or index > 0:
        return caption(findings, segmentation, context, width)
    table = draw_table(findings.table)
    beside = width - table.width - 2 * MARGIN
    if beside >= SIDE_CAPTION_WIDTH:
        words = caption(findings, segmentation, context, beside)
        image = Image.new("RGB", (width, max(table.height, words.height)), PAPER)
        place = (table.width + 2 * MARGIN, 0)
    else:
        words = caption(findings, segmentation, context, max(width, table.width))
        image = Image.new("RGB", (words.width, table.height + MARGIN + words.height), PAPER)
        place = (0, table.height + MARGIN)
    image.paste(table, (0, 0))
    image.paste(words, place)
    return image


def _frames(segmentation: Segmentation) -> list[int]:
    """Frames to show: all views of a planar source, anterior first; else the key frames, or the fullest frame."""
    count = len(segmentation.label_map)
    if segmentation.source.planar:
        names = segmentation.source.view_names
        return sorted(range(count), key=lambda frame: (frame >= len(names) or names[frame] != "anterior", frame))[
            :MAX_PANELS
        ]
    most = MAX_PANELS if not segmentation.key_overlays else MOST_COMPARED
    chosen = [frame for frame in segmentation.key_frames if 0 <= frame < count][:most]
    if chosen:
        return chosen
    filled = (segmentation.label_map > 0).sum(axis=(1, 2))
    return [int(filled.argmax()) if filled.any() else count // 2]


def _panels(findings: Findings, index: int, frame: int) -> list[_Panel]:
    return [_panel(findings, index, frame, *picture) for picture in pictures_of(findings.segmentations[index], frame)]


def _panel(findings: Findings, index: int, frame: int, shown: np.ndarray, name: str) -> _Panel:
    segmentation = findings.segmentations[index]
    source = segmentation.source
    size = _panel_size(source, shown.shape[:2])
    image = Image.fromarray(shown).resize(size, Image.Resampling.BILINEAR)
    labels = np.asarray(Image.fromarray(segmentation.label_map[frame]).resize(size, Image.Resampling.NEAREST))
    pixels = np.array(image)
    present = set(np.unique(labels).tolist())
    for segment in segmentation.segments:
        if segment.number in present:
            pixels[_outline(labels == segment.number)] = segment.colour_rgb
    image = Image.fromarray(pixels)
    draw = ImageDraw.Draw(image)
    scale = (size[0] / shown.shape[1], size[1] / shown.shape[0])
    regions = [(n, r) for n, r in enumerate(findings.regions, start=1) if r.segmentation == index]
    if any(region.mark for _, region in regions):
        _write_marks(draw, segmentation, [region for _, region in regions if region.mark], frame, scale)
    else:
        _number_regions(draw, segmentation, regions, frame, scale)
    _mark_sides(draw, source, frame, size, INK if segmentation.display_inverted else PAPER)
    return _Panel(image, ", ".join(part for part in (_title(segmentation, frame), name) if part))


def _panel_size(source: SourceSeries, shape: tuple[int, ...]) -> tuple[int, int]:
    """Width and height of a panel with the source's true proportions."""
    rows_mm, columns_mm = numbers(source.headers[0], "PixelSpacing", 2) or _pixel_spacing(source) or (1.0, 1.0)
    height, width = shape[0] * rows_mm, shape[1] * columns_mm
    scale = min(PANEL_HEIGHT / height, PANEL_WIDTH / width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _pixel_spacing(source: SourceSeries) -> tuple[float, float] | None:
    """Pixel spacing of a multi-frame object that keeps it in functional groups; None where nothing states it."""
    try:
        return plane_geometry(source).pixel_spacing_mm
    except PermanentError:
        return None


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels just outside a mask, so that it hides nothing; inside it at the picture's edge only."""
    padded = np.pad(mask, 1)
    grown = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    outline = grown & ~mask
    edge = np.zeros_like(mask)
    edge[0], edge[-1], edge[:, 0], edge[:, -1] = mask[0], mask[-1], mask[:, 0], mask[:, -1]
    return outline | edge


def _write_marks(
    draw: ImageDraw.ImageDraw,
    segmentation: Segmentation,
    regions: list[Region],
    frame: int,
    scale: tuple[float, float],
) -> None:
    """Each region's mark to the left of its segment on this frame, half-way down, edged to be read on any grey."""
    font = ImageFont.load_default(TEXT_SIZE)
    colours = {s.number: s.colour_rgb for s in segmentation.segments}
    for region in regions:
        mask = segmentation.label_map[frame] == region.segment_number
        if not mask.any():
            continue
        rows, columns = np.nonzero(mask)
        x = max(0.0, columns.min() * scale[0] - font.getlength(region.mark) - 2 * MARK_EDGE)
        y = max(0.0, rows.mean() * scale[1] - TEXT_SIZE / 2)
        colour = colours[region.segment_number]
        draw.text((x, y), region.mark, fill=colour, font=font, stroke_width=MARK_EDGE, stroke_fill=INK)


def _number_regions(
    draw: ImageDraw.ImageDraw,
    segmentation: Segmentation,
    regions: list[tuple[int, Region]],
    frame: int,
    scale: tuple[float, float],
) -> None:
    """Each region's number in the findings, beside its contours on this frame."""
    font = ImageFont.load_default(TEXT_SIZE - 1)
    colours = {s.number: s.colour_rgb for s in segmentation.segments}
    for number, region in regions:
        points = [c.points for c in region.contours if c.frame == frame]
        if not points:
            continue
        corners = np.concatenate(points)
        x, y = corners[:, 0].max() * scale[0] + 3, corners[:, 1].min() * scale[1] - TEXT_SIZE / 2
        x, y = min(x, draw.im.size[0] - 2 * TEXT_SIZE), max(0.0, y)
        draw.text((x, y), str(number), fill=colours.get(region.segment_number, INK), font=font)


def _mark_sides(
    draw: ImageDraw.ImageDraw, source: SourceSeries, frame: int, size: tuple[int, int], ink: tuple[int, int, int]
) -> None:
    right = _right_letter(source, frame)
    if right is None:
        return
    font = ImageFont.load_default(TEXT_SIZE + 5)
    draw.text((6, 4), opposite(right), fill=ink, font=font)
    draw.text((size[0] - 22, 4), right, fill=ink, font=font)


def _right_letter(source: SourceSeries, frame: int) -> str | None:
    """Letter of the direction that is on the right of a frame; None where it is not known."""
    if source.planar:
        orientation = view_orientation(source.view_names[frame]) if frame < len(source.view_names) else None
        return orientation[0] if orientation else None
    try:
        return direction_letter(plane_geometry(source).orientation[:3])
    except PermanentError:
        return None


def _title(segmentation: Segmentation, frame: int) -> str:
    """The view's name, or the number that viewers show for a slice and its way from the first panel's."""
    source = segmentation.source
    if source.planar:
        return source.view_names[frame].upper() if frame < len(source.view_names) else f"VIEW {frame + 1}"
    title = f"image {_image_number(source, frame)} of {len(source.frames)}"
    first = _frames(segmentation)[0]
    try:
        geometry = plane_geometry(source)
    except PermanentError:
        return title
    way_mm = float((geometry.positions_mm[frame] - geometry.positions_mm[first]) @ geometry.normal)
    side = SIDES.get(direction_letter(np.sign(way_mm) * geometry.normal), "")
    return f"{title}, {abs(way_mm):.0f} mm to the {side}" if side and frame != first else title


def _image_number(source: SourceSeries, frame: int) -> int:
    """Frame number in a multi-frame object, else InstanceNumber; the place in the stack where there is none."""
    number = source.frames[frame].frame_number
    if number is None:
        stated = numbers(source.headers[frame], "InstanceNumber", 1)
        number = int(stated[0]) if stated else None
    return number if number is not None else frame + 1


def _arrange(panels: list[_Panel]) -> Image.Image:
    columns = min(len(panels), PANELS_PER_ROW)
    rows = -(-len(panels) // columns)
    width = max(p.image.width for p in panels)
    height = max(p.image.height for p in panels) + TITLE_HEIGHT
    sheet = Image.new("RGB", (MARGIN + columns * (width + MARGIN), MARGIN + rows * (height + MARGIN)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT_SIZE)
    for position, panel in enumerate(panels):
        x = MARGIN + (position % columns) * (width + MARGIN)
        y = MARGIN + (position // columns) * (height + MARGIN)
        draw.text((x, y), panel.title, fill=INK, font=font)
        sheet.paste(panel.image, (x, y + TITLE_HEIGHT))
        corner = (x + panel.image.width, y + TITLE_HEIGHT + panel.image.height)
        draw.rectangle((x - 1, y + TITLE_HEIGHT - 1, *corner), outline=FRAME)
    return sheet
