"""A small real pipeline for the tests of the queue: bright pixels of a planar scan become one segment.

It needs no network, runs as long as its series asks for, and misbehaves where its series asks for it. The commands of
a series stand in its SeriesDescription, so that they cross every process boundary the way a scan does:
"slow SECONDS", "refuse", "fail", "fail once" (the first attempt in a folder named by OSTEON_TINY_MARKS), "cuda fault".
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code

from pipelines.contract import (
    ComputeOptions,
    ContentRefused,
    Findings,
    FrameReference,
    ModelIdentity,
    Pipeline,
    PipelineInputs,
    Progress,
    Segment,
    Segmentation,
    SourceSeries,
)

STEPS_PER_SECOND = 20
BRIGHT = 9


class TinyPipeline(Pipeline):
    """Counts how often it was loaded; everything else comes from the series."""

    name = "tiny"
    version = "1"
    title = "Bright pixels"
    loads = 0

    def load(self, options: ComputeOptions) -> None:
        type(self).loads += 1

    def check(self, inputs: PipelineInputs) -> None:
        if _command(_read(inputs)) == "refuse":
            raise ContentRefused("this series asks to be refused; send one that does not")

    def run(self, inputs: PipelineInputs, progress: Progress) -> Findings:
        dataset = _read(inputs)
        command, _, argument = _command(dataset).partition(" ")
        if command == "slow":
            steps = int(float(argument) * STEPS_PER_SECOND)
            for step in range(steps):
                progress(step / steps, "being slow")
                time.sleep(1 / STEPS_PER_SECOND)
        if command == "cuda":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if command == "fail" and (argument != "once" or _first_time(dataset)):
            raise ValueError(f"cannot make anything of {dataset.PatientName}")
        return _findings(dataset)


def _read(inputs: PipelineInputs) -> Dataset:
    return dcmread(inputs.primary.paths[0])


def _command(dataset: Dataset) -> str:
    return str(dataset.SeriesDescription)


def _first_time(dataset: Dataset) -> bool:
    mark = Path(os.environ["OSTEON_TINY_MARKS"]) / str(dataset.SeriesInstanceUID)
    if mark.exists():
        return False
    mark.touch()
    return True


def _findings(dataset: Dataset) -> Findings:
    pixels = dataset.pixel_array
    header = Dataset()
    header.update({e.tag: e for e in dataset if e.keyword != "PixelData"})
    reference = [
        FrameReference(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), number)
        for number in range(1, len(pixels) + 1)
    ]
    segment = Segment(
        number=1,
        label="bright",
        category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        type=Code("14799000", "SCT", "Neoplasm, Secondary"),
        tracking_id="bright-1",
        colour_rgb=(255, 0, 0),
    )
    return Findings(
        pipeline="tiny",
        pipeline_version="1",
        algorithm_name="bright pixels",
        models=(ModelIdentity("none", "1", "0" * 64, "nothing"),),
        segmentations=(
            Segmentation(
                source=SourceSeries((header,), tuple(reference), planar=True, view_names=("anterior", "posterior")),
                label_map=(pixels >= BRIGHT).astype(np.uint8),
                segments=(segment,),
                display=np.clip(pixels * 10, 0, 255).astype(np.uint8),
            ),
        ),
        conclusion="Bright pixels were counted.",
    )
