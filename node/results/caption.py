"""The words on the overlay picture: legend, figures, conclusion, limitations, research statement.

Plain text becomes lines, lines become an image of a given width. Latin-1 only: Pillow's own font is used, so that a
picture does not depend on what a machine has installed.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from node.results.codes import MORPHOLOGICALLY_ABNORMAL
from node.results.context import ResultContext
from pipelines.contract import Findings, Quantity, Segment, Segmentation

PAPER = (255, 255, 255)
INK = (20, 20, 20)
WARNING_INK = (170, 60, 0)

TEXT_SIZE = 14
LINE_HEIGHT = 19
PARAGRAPH_GAP = 6
MAX_HEADLINES = 8

Colour = tuple[int, int, int]


def caption(findings: Findings, segmentation: Segmentation, context: ResultContext, width: int) -> Image.Image:
    """All words of one picture on paper of `width` pixels, as high as they need."""
    font = ImageFont.load_default(TEXT_SIZE)
    index = next(n for n, one in enumerate(findings.segmentations) if one is segmentation)
    # What has its name on the picture needs no line in the legend.
    marked = frozenset(r.segment_number for r in findings.regions if r.mark and r.segmentation == index)
    legend = legend_lines(segmentation, marked)
    blocks = [[(line, ink) for line in wrap(text, font, width)] for text, ink in _paragraphs(findings, context)]
    if not legend and not marked:
        blocks.insert(0, [("No lesion segmented.", INK)])
    height = LINE_HEIGHT * (len(legend) + sum(map(len, blocks))) + PARAGRAPH_GAP * (len(blocks) + 1)
    image = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(image)
    y = 0
    for colour, words in legend:
        draw.rectangle((0, y + 3, 12, y + 15), fill=colour)
        draw.text((20, y), latin(words), fill=INK, font=font)
        y += LINE_HEIGHT
    for block in blocks:
        y += PARAGRAPH_GAP
        for line, ink in block:
            draw.text((0, y), line, fill=ink, font=font)
            y += LINE_HEIGHT
    return image


def _paragraphs(findings: Findings, context: ResultContext) -> list[tuple[str, Colour]]:
    paragraphs = [(findings.conclusion, INK)] if findings.conclusion else []
    paragraphs += [(headline(quantity), INK) for quantity in headline_quantities(findings.quantities)]
    paragraphs += [(text, WARNING_INK) for text in (*findings.limitations, findings.research_statement)]
    models = ", ".join(f"{model.name} {model.version}" for model in findings.models)
    written_by = f"{findings.algorithm_name}; {findings.pipeline} {findings.pipeline_version}"
    return [*paragraphs, (f"{written_by}; {models}" if models else written_by, INK)]


def legend_lines(segmentation: Segmentation, marked: frozenset[int] = frozenset()) -> list[tuple[Colour, str]]:
    """Colour and words, one line per colour: a segment's label, or what the segments of one colour have in common.

    Segments whose numbers are `marked` are left out.
    """
    present = set(segmentation.boxes) - marked
    by_colour: dict[Colour, list[Segment]] = {}
    for segment in segmentation.segments:
        if segment.number in present:
            by_colour.setdefault(segment.colour_rgb, []).append(segment)
    return [(colour, _in_common(group)) for colour, group in by_colour.items()]


def _in_common(group: list[Segment]) -> str:
    if len(group) == 1:
        return group[0].label
    words = group[0].type.meaning
    sides = {segment.laterality for segment in group}
    if len(sides) == 1 and group[0].laterality is not None:
        words += f", {group[0].laterality.meaning.lower()}"
    if group[0].category == MORPHOLOGICALLY_ABNORMAL:
        # A code names what is meant, not what is proven: only a physician says what a mark is.
        words = f"Suspected: {words}"
    return f"{words} ({len(group)} segments)"


def headline_quantities(quantities: Sequence[Quantity]) -> list[Quantity]:
    """Figures for the caption: without the parts of a figure that is given as a whole (mean, maximum), too."""
    wholes = {quantity.name for quantity in quantities if quantity.derivation is not None}
    return [q for q in quantities if q.derivation is not None or q.name not in wholes][:MAX_HEADLINES]


def headline(quantity: Quantity) -> str:
    """One figure in words, e.g. "Bone scan tumour burden index, mean: 0.105 (K = 5)"."""
    name = quantity.name.meaning
    if quantity.derivation is not None:
        name += f", {quantity.derivation.meaning.lower()}"
    if quantity.value is None:
        return f"{name}: not computable ({quantity.reason})"
    unit = "" if quantity.unit.value == "1" else f" {quantity.unit.value.strip('{}')}"
    method = f" ({quantity.method})" if quantity.method else ""
    return f"{name}: {quantity.value:.4g}{unit}{method}"


def wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text at spaces so that each line fits `width` pixels; a longer word stands alone."""
    lines: list[str] = []
    for word in latin(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def latin(text: str) -> str:
    """Text with question marks for characters outside Latin-1, which have no glyph in the built-in font."""
    return text.encode("latin-1", "replace").decode("latin-1")
