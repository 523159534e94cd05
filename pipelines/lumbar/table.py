"""The small table of a result: one row per motion segment, the figures a spine reader looks for first.

`LumbarMeasurements` -> `Table`. What could not be measured is a dash; why stands in the report.
"""

from __future__ import annotations

from pipelines.contract import Table
from pipelines.lumbar.quantities import LumbarMeasurements, Measured

COLUMNS = (
    "Vertebra", "Height ant / mid / post, mm", "Wedge ratio",
    "Disc", "Height, mm", "Height index", "Sac AP, mm", "Sac area, mm2", "Foramen R, mm2", "Foramen L, mm2",
)  # fmt: skip
NOTHING = "-"


def measurement_table(measured: LumbarMeasurements) -> Table:
    """Lay the figures out, from the top down: a vertebra, and the level below it."""
    vertebrae = {vertebra.name: vertebra for vertebra in measured.vertebrae}
    discs = {disc.name: disc for disc in measured.discs}
    canal = {section.level: section for section in measured.canal}
    foramina = {(foramen.level, foramen.side): foramen for foramen in measured.foramina}
    rows = []
    for name, level in _pairs(list(vertebrae), [*discs, *canal, *(level for level, _ in foramina)]):
        body, disc, section = vertebrae.get(name), discs.get(level), canal.get(level)
        heights = (body.anterior_height_mm, body.middle_height_mm, body.posterior_height_mm) if body else ()
        rows.append(
            (
                name if body else "",
                " / ".join(_cell(height, 1) for height in heights),
                _cell(body.wedge_ratio, 2) if body else "",
                level,
                _cell(disc.mean_height_mm, 1) if disc else "",
                _cell(disc.height_index, 2) if disc else "",
                _cell(section.ap_diameter_mm, 1) if section else "",
                _cell(section.area_mm2, 0) if section else "",
                *(_side(foramina.get((level, side))) for side in ("right", "left")),
            )
        )
    return Table("Measurements by level", COLUMNS, tuple(rows))


def _pairs(names: list[str], levels: list[str]) -> list[tuple[str, str]]:
    """Pair each vertebra with the level below it; a level above the topmost vertebra stands first, alone."""
    below = {level.split("/")[0]: level for level in levels}
    alone = [(upper, level) for upper, level in below.items() if upper not in names]
    return alone + [(name, below.get(name, "")) for name in names]


def _side(foramen: object) -> str:
    area = getattr(foramen, "area_mm2", None)
    return _cell(area, 0) if isinstance(area, Measured) else ""


def _cell(measured: Measured, digits: int) -> str:
    return NOTHING if measured.value is None else f"{measured.value:.{digits}f}"
