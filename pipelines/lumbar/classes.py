"""The label values that networks, cascade, simulator and evaluation share.

The paper (doi 10.13609/j.cnki.1000-0313.2022.02.016) has five structures. The sacrum is ours: without a class of its
own S1 looks like one more lumbar body, and levels could not be counted upward from it. Labels are exclusive, as in
the paper's ITK-SNAP maps, so the cord and cauda equina are cut out of the dural sac; `THECAL_SAC` is their union.

No imports: anyone may read this module.
"""

from __future__ import annotations

BACKGROUND, BODY, DISC, CANAL, FORAMEN, CORD, SACRUM = range(7)

CLASSES = (
    "background",
    "vertebral body",
    "intervertebral disc",
    "spinal canal",
    "neural foramen",
    "cord and cauda equina",
    "sacrum",
)
"""Outputs of both networks, in order; the index is the value in a label map."""

PAPER_STRUCTURES = (BODY, DISC, CANAL, FORAMEN, CORD)
"""What the paper segments, crops to and reports."""

THECAL_SAC = (CANAL, CORD)
