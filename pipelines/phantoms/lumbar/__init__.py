"""Simulated lumbar MR patients: a true 3-D spine with all its surroundings, scanned as a sagittal T2 series.

`draw_lumbar` makes an anatomy (seconds, can be kept), `render_lumbar` a scan of it with a look of its own,
`simulate_lumbar` both. Truth comes with every scan. Knows no pipeline and imports no torch.
"""

from pipelines.phantoms.lumbar.draw import draw_lumbar
from pipelines.phantoms.lumbar.patient import STRUCTURES, LumbarAnatomy, LumbarPatient
from pipelines.phantoms.lumbar.regrid import regrid
from pipelines.phantoms.lumbar.render import render_lumbar, simulate_lumbar
from pipelines.phantoms.lumbar.study import generate_lumbar, write_lumbar_study

__all__ = [
    "STRUCTURES",
    "LumbarAnatomy",
    "LumbarPatient",
    "draw_lumbar",
    "generate_lumbar",
    "regrid",
    "render_lumbar",
    "simulate_lumbar",
    "write_lumbar_study",
]
