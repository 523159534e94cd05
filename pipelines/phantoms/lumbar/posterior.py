"""Posterior elements: pedicles, articular processes with their joints, laminae, spinous and transverse processes, ribs.

All are capsules between points of the vertebra's own frame: cortex first, then marrow inside. None of it is part of any
structure of the truth; it is what a network must not call one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.phantoms.lumbar.canvas import Canvas
from pipelines.phantoms.lumbar.chain import Spine, Vertebra
from pipelines.phantoms.lumbar.patient import BODY, DISC


@dataclass(frozen=True)
class Rod:
    """A capsule in the frame of a vertebra; `tall` stretches its cross-section upwards."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radius: float
    tall: float = 1.0


def pedicle_offset(vertebra: Vertebra) -> float:
    """Return the lateral distance (mm) of the pedicles' axes from the midline."""
    return vertebra.plan.canal_width / 2 + vertebra.plan.pedicle_width / 2 - 0.5


def pedicle_up(vertebra: Vertebra) -> float:
    """Return how far (mm) the pedicles' axes lie above the middle of the body."""
    return vertebra.plan.height * (0.19 if not vertebra.plan.rib else 0.24)


def pedicle_half_height(vertebra: Vertebra) -> float:
    """Return half the height (mm) of the pedicles."""
    return vertebra.plan.height * 0.27


def paint_posterior(canvas: Canvas, spine: Spine, body_cortex: int, rng: np.random.Generator) -> None:
    """Paint the posterior elements of all vertebrae, then the joints between them."""
    cortex, fluid, cartilage = (canvas.label(t) for t in ("cortex", "facet fluid", "ligament"))
    rib_cortex, rib = canvas.label("cortex"), canvas.label("posterior marrow")
    for number, vertebra in enumerate(spine.vertebrae):
        rods = _rods(vertebra, rng)
        marrow = canvas.label("posterior marrow")
        _paint_rods(canvas, vertebra, rods, (cortex, marrow, body_cortex), rng.uniform(0.7, 1.2))
        if vertebra.plan.rib:
            _paint_rods(canvas, vertebra, _ribs(vertebra, rng), (rib_cortex, rib, rib_cortex), 1.0)
        if number:
            _facets(canvas, vertebra, fluid if rng.random() < 0.5 else cartilage, rng)


def _paint_rods(
    canvas: Canvas, vertebra: Vertebra, rods: list[Rod], labels: tuple[int, int, int], shell: float
) -> None:
    """Paint rods with (cortex, marrow, body cortex) labels; where one enters a body, marrow runs through the cortex."""
    cortex, marrow, body_cortex = labels
    inner = []
    for rod in rods:
        frame = vertebra.body
        stretch = (frame.axes[2], rod.tall) if rod.tall != 1.0 else None
        shape = canvas.capsule(frame.at(*rod.start), frame.at(*rod.end), rod.radius, stretch)
        if shape is None:
            continue
        box, distance = shape
        free = ~canvas.holds(box, BODY, DISC)
        canvas.paint(box, (distance < 0) & free, cortex)
        deep = distance < -shell
        inner.append((box, deep & free, deep & ~free))
    for box, mask, within in inner:
        canvas.paint(box, mask, marrow)
        labels_here = canvas.labels[box.index]
        labels_here[within & (labels_here == body_cortex)] = marrow


def _rods(vertebra: Vertebra, rng: np.random.Generator) -> list[Rod]:
    p = vertebra.plan
    back, side, up = p.depth / 2, pedicle_offset(vertebra), pedicle_up(vertebra)
    half = p.height / 2
    canal = p.canal_depth + 3.5
    size = p.height / 27
    rods = []
    for s in (-1.0, 1.0):
        j = rng.normal(0, 0.7, 6)
        tall = pedicle_half_height(vertebra) / (p.pedicle_width / 2)
        pillar = (s * (side + 1.5), back + 12 + j[0], up - 3)
        low = (s * (side - 0.5 + j[1]), back + 17.5 + j[2], -half - p.disc_height * 0.7 + j[3])
        rods += [
            Rod((s * (side - 1), back - 4, up), (s * side, back + 9, up), p.pedicle_width / 2, max(0.6, tall)),
            Rod(
                (s * (side + 2), back + 9, up + 2),
                (s * (side + 3), back + 11.5, half + p.disc_height * 0.5),
                4.2 * size,
            ),
            Rod(pillar, low, 4.4 * size, 1.1),
            Rod(
                (s * side * 0.95, back + canal * 0.75 + 2, -2.0),
                (s * 1.0, back + canal + 3.5, -half * 0.55),
                3.0 * size,
                2.4,
            ),
        ]
        if not p.rib:
            tip = (s * (pedicle_offset(vertebra) + rng.uniform(19, 30)), back + rng.uniform(11, 17), up + j[4])
            rods.append(Rod((s * (side + 2), back + 9, up - 1), tip, rng.uniform(2.6, 4.2) * size, 1.2))
    length = rng.uniform(23, 33) * size * (0.75 if p.name in ("L5", "L6") else 1.0)
    # The spinous process of T12 stands out like a lumbar one; those above it slope.
    drop = rng.uniform(*((0.0, 0.3) if not p.rib else (0.1, 0.5) if p.name == "T12" else (0.6, 1.0))) * half
    # A plate, higher at its tip than at its root; two rods side by side make it.
    thick, tall = rng.uniform(2.6, 3.8), rng.uniform(2.3, 3.3) * (0.75 if p.rib else 1.0)
    root, level = back + canal + 4, -half * 0.55
    sway = rng.normal(0, 1.2)
    rods.append(Rod((0.0, root, level), (sway, root + length * 0.8, level - drop), thick, tall))
    rods.append(
        Rod((sway, root + length * 0.6, level - drop), (sway, root + length, level - drop - 1), thick, tall * 1.15)
    )
    return rods


def _ribs(vertebra: Vertebra, rng: np.random.Generator) -> list[Rod]:
    """Draw both ribs; the twelfth ones may be so short that they hardly pass the transverse process of a lumbar one."""
    p = vertebra.plan
    varied = rng.spawn(1)[0]
    length = varied.uniform(0.1, 1.0) if p.name == "T12" else 1.0
    out = []
    for s in (-1.0, 1.0):
        head = np.array((s * p.width * 0.46, p.depth * 0.38, p.height * 0.32)) + varied.normal(0, 1.0, 3)
        neck = np.array((s * (p.width / 2 + 14), p.depth / 2 + 13, p.height * 0.25)) + varied.normal(0, 2.0, 3)
        angle = np.array((s * (p.width / 2 + 38), p.depth / 2 + 19, -p.height * rng.uniform(0.3, 0.9)))
        end = neck + length * float(varied.uniform(0.8, 1.0)) * (angle - neck)
        thick = varied.uniform(0.75, 1.1)
        out += [
            Rod(tuple(head), tuple(neck), 4.3 * thick, varied.uniform(1.0, 1.4)),
            Rod(tuple(neck), tuple(end), 4.6 * thick, varied.uniform(1.2, 1.6)),
        ]
    return out


def _facets(canvas: Canvas, vertebra: Vertebra, label: int, rng: np.random.Generator) -> None:
    """Paint the joint between this vertebra's lower processes and the next one's upper ones: a thin oblique sheet."""
    p = vertebra.plan
    for s in (-1.0, 1.0):
        side = pedicle_offset(vertebra) + 0.5
        low = vertebra.body.at(s * side, p.depth / 2 + 15.5, -p.height / 2 - p.disc_height * 0.9)
        high = vertebra.body.at(s * (side + 0.5), p.depth / 2 + 14.5, -p.height / 2 + 5)
        shape = canvas.capsule(low, high, rng.uniform(0.7, 1.3), (vertebra.body.axes[0], 4.0))
        if shape is not None:
            canvas.paint(shape[0], shape[1] < 0, label)
