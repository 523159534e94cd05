"""Draws one anatomy: plan, place in space, paint from the outside in, keep the truth at drawing resolution.

Cost: a few seconds on one core; every shape is evaluated inside its own box only. No appearance is decided here.
"""

from __future__ import annotations

import numpy as np

from pipelines.phantoms.lumbar.bodies import paint_bodies_and_discs
from pipelines.phantoms.lumbar.canal import paint_canal, paint_foramina, paint_herniations, plan_sac
from pipelines.phantoms.lumbar.canvas import Canvas
from pipelines.phantoms.lumbar.chain import Spine, place
from pipelines.phantoms.lumbar.patient import LumbarAnatomy
from pipelines.phantoms.lumbar.pelvis import paint_pelvis
from pipelines.phantoms.lumbar.plan import draw_plan, stream
from pipelines.phantoms.lumbar.posterior import paint_posterior
from pipelines.phantoms.lumbar.surroundings import body_surfaces, paint_surroundings

IN_PLANE_MM, THROUGH_MM = 0.75, 1.25
"""Drawing resolution: below the pixel of any scan, and four samples through a slice."""

_HALF_WIDTH_MM = 52.0
_TOP_ABOVE, _BELOW_MM = "T9", 125.0


def draw_lumbar(seed: int, preset: str = "train", lumbar_count: int | None = None) -> LumbarAnatomy:
    """Draw the anatomy of one simulated patient; the same seed and preset give the same anatomy.

    `lumbar_count` (4 to 6) is drawn with the rest (nine of ten patients have five) unless it is given.

    Raises
    ------
    ValueError
        If the preset does not exist.
    """
    rng = stream(seed, preset, 1)
    spine = place(draw_plan(rng, lumbar_count))
    back, front = body_surfaces(spine, rng)
    canvas = _canvas(spine, back, front)
    paint_surroundings(canvas, spine, back, front, rng)
    sac = plan_sac(canvas, spine, rng)
    paint_foramina(canvas, spine, rng)
    common = paint_bodies_and_discs(canvas, spine, rng)
    paint_pelvis(canvas, spine, rng)
    paint_posterior(canvas, spine, common.cortex, rng)
    paint_canal(canvas, spine, sac, rng)
    paint_herniations(canvas, spine, sac, rng)
    notes = spine.plan.notes() | {"conus_level": _level_at(spine, sac.conus), "fine_labels": len(canvas.tissues)}
    return LumbarAnatomy(
        labels=canvas.labels,
        instances=canvas.instances,
        instance_table=tuple(canvas.table),
        origin_mm=(float(canvas.x[0]), float(canvas.y[0]), float(canvas.z[0])),
        spacing_mm=(THROUGH_MM, IN_PLANE_MM, IN_PLANE_MM),
        tissues=tuple(canvas.tissues),
        hints=tuple(canvas.hints),
        spine_mm=spine.line().astype(np.float32),
        disc_planes_mm=np.array([[v.disc.origin, *v.disc.axes] for v in spine.vertebrae], np.float32),
        back_mm=back,
        front_mm=front,
        seed=seed,
        preset=preset,
        notes=notes,
    )


def _canvas(spine: Spine, back: float, front: float) -> Canvas:
    top = next(v for v in spine.vertebrae if v.plan.name == _TOP_ABOVE)
    middle = float(np.mean([v.body.origin[0] for v in spine.vertebrae[: spine.plan.lumbar_count]]))
    x = np.arange(middle - _HALF_WIDTH_MM, middle + _HALF_WIDTH_MM, THROUGH_MM, dtype=np.float32)
    z = np.arange(
        top.body.at(0, 0, top.plan.height / 2)[2], -_BELOW_MM * spine.plan.scale, -IN_PLANE_MM, dtype=np.float32
    )
    y = np.arange(front - 45, max(back, 0) + 60, IN_PLANE_MM, dtype=np.float32)
    return Canvas(x, z, y)


def _level_at(spine: Spine, z: float) -> str:
    """Return the vertebra, or the disc between two, at a height."""
    for vertebra in spine.vertebrae:
        body, half = vertebra.body.origin[2], vertebra.plan.height / 2
        if abs(z - body) <= half:
            return vertebra.plan.name
    above = [v.plan.name for v in spine.vertebrae if v.body.origin[2] > z]
    below = [v.plan.name for v in spine.vertebrae if v.body.origin[2] <= z]
    return f"{above[0] if above else ''}/{below[-1] if below else 'S1'}"
