"""The table of figures on the overlay picture: ruled lines of text, as wide as its cells need.

`Table` -> image. Numbers stand flush right, words flush left. Nothing is rounded or left out here.
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from node.results.caption import INK, LINE_HEIGHT, PAPER, TEXT_SIZE, latin
from pipelines.contract import Table

CELL_GAP = 18
RULE = (150, 150, 150)
HEADING_LINES = 2


def draw_table(table: Table) -> Image.Image:
    """Title, headings of up to two lines, and a line per row."""
    font = ImageFont.load_default(TEXT_SIZE)
    headings = [_two_lines(latin(heading)) for heading in table.columns]
    rows = [[latin(cell) for cell in row] for row in table.rows]
    widths = [
        int(max(font.getlength(text) for text in (*heading, *(row[index] for row in rows)))) + CELL_GAP
        for index, heading in enumerate(headings)
    ]
    lines = 1 + HEADING_LINES + len(rows)
    image = Image.new("RGB", (sum(widths), lines * LINE_HEIGHT + 8), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((0, 0), latin(table.title), fill=INK, font=font)
    for line in range(HEADING_LINES):
        _line(draw, [heading[line] for heading in headings], widths, (1 + line) * LINE_HEIGHT, font)
    rule = (1 + HEADING_LINES) * LINE_HEIGHT + 2
    draw.line((0, rule, image.width, rule), fill=RULE)
    for number, row in enumerate(rows):
        _line(draw, row, widths, rule + 4 + number * LINE_HEIGHT, font)
    return image


def _line(
    draw: ImageDraw.ImageDraw,
    cells: list[str],
    widths: list[int],
    y: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    x = 0
    for cell, width in zip(cells, widths, strict=True):
        flush_right = cell[:1].isdigit() or cell[:1] == "-"
        indent = width - CELL_GAP - font.getlength(cell) if flush_right else 0
        draw.text((x + indent, y), cell, fill=INK, font=font)
        x += width


def _two_lines(heading: str) -> tuple[str, str]:
    """Break a heading at the space nearest to its middle: narrow columns under wide headings waste the sheet."""
    spaces = [index for index, character in enumerate(heading) if character == " "]
    if not spaces or len(heading) < 10:
        return "", heading
    middle = min(spaces, key=lambda index: abs(index - len(heading) / 2))
    return heading[:middle], heading[middle + 1 :]
