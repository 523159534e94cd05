"""What every pipeline promises and may rely on: inputs, findings, errors, model cards."""

from pipelines.contract.errors import ContentRefused, DeviceError, WeightsError
from pipelines.contract.findings import (
    Contour,
    Findings,
    FrameReference,
    ModelIdentity,
    Quantity,
    Region,
    Segment,
    Segmentation,
    SourceSeries,
    Table,
)
from pipelines.contract.pipeline import (
    ComputeOptions,
    InputSeries,
    Pipeline,
    PipelineInputs,
    Progress,
    iter_pipeline_names,
    load_pipeline_class,
)

__all__ = [
    "ComputeOptions",
    "ContentRefused",
    "Contour",
    "DeviceError",
    "Findings",
    "FrameReference",
    "InputSeries",
    "ModelIdentity",
    "Pipeline",
    "PipelineInputs",
    "Progress",
    "Quantity",
    "Region",
    "Segment",
    "Segmentation",
    "SourceSeries",
    "Table",
    "WeightsError",
    "iter_pipeline_names",
    "load_pipeline_class",
]
