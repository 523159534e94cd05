"""The `Pipeline` contract: DICOM files in, `Findings` out.

A pipeline is a class named by the entry-point group `osteon.pipelines`; the key is its name in rules and on the
command line. Importing the module that holds the class must stay cheap: torch and MONAI are imported in `load`
or below, never at the top, because the listener, `osteon route explain` and the dashboard list pipelines too.

The life of an instance: constructed once per worker, `load` once, then for each job `check` and `run`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import ClassVar

from pipelines.contract.findings import Findings

ENTRY_POINT_GROUP = "osteon.pipelines"

Progress = Callable[[float, str], None]
"""Called with a fraction done (0 to 1) and what is being done now."""


@dataclass(frozen=True)
class InputSeries:
    """The files of one series. `role` is "primary" or what the rule calls the companion ("ct")."""

    series_instance_uid: str
    paths: tuple[Path, ...]
    role: str = "primary"


@dataclass(frozen=True)
class PipelineInputs:
    """What a job hands to a pipeline: the primary series first, then its companions.

    `rule` names the routing rule that fired; empty where a person asked (`osteon run`).
    """

    series: tuple[InputSeries, ...]
    rule: str = ""

    def __post_init__(self) -> None:
        if not self.series:
            raise ValueError("a pipeline needs at least one series")

    @property
    def primary(self) -> InputSeries:
        return self.series[0]


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how a network runs.

    device
        "auto" (CUDA when present, else CPU), "cpu", "cuda" or "cuda:N". A named CUDA device that is missing
        raises `DeviceError`; only "auto" may end on the CPU.
    precision
        "fp32" or "bf16" (autocast).
    threads
        CPU threads for torch; 0 leaves torch's default.
    weights_dir
        Folder whose weights take precedence over the shipped ones; None for the shipped ones.
    """

    device: str = "auto"
    precision: str = "fp32"
    threads: int = 0
    weights_dir: Path | None = None


class Pipeline(ABC):
    """One paper's method, from DICOM files to findings."""

    name: ClassVar[str]
    version: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def check(self, inputs: PipelineInputs) -> None:
        """Look at the content (headers and pixels, no network).

        Raises
        ------
        ContentRefused
            With one sentence a person can act on, if this is not what the pipeline was made for.
        """

    @abstractmethod
    def load(self, options: ComputeOptions) -> None:
        """Load the networks; called once per process.

        Raises
        ------
        WeightsError, DeviceError
        """

    @abstractmethod
    def run(self, inputs: PipelineInputs, progress: Progress) -> Findings:
        """Analyse one study; `load` was called before. Masks come back on the source grid.

        Raises
        ------
        ContentRefused
            If the content turns out unfit only now (an undecodable frame, say).
        """


def iter_pipeline_names() -> Iterator[str]:
    """Names of all installed pipelines, sorted; imports none of them."""
    yield from sorted({ep.name for ep in entry_points(group=ENTRY_POINT_GROUP)})


def load_pipeline_class(name: str) -> type[Pipeline]:
    """Import the class behind a pipeline's name.

    Raises
    ------
    KeyError
        With the installed names, if there is no such pipeline.
    """
    found = [ep for ep in entry_points(group=ENTRY_POINT_GROUP) if ep.name == name]
    if not found:
        raise KeyError(f"no pipeline '{name}' is installed; installed: {', '.join(iter_pipeline_names()) or 'none'}")
    loaded = found[0].load()
    if not (isinstance(loaded, type) and issubclass(loaded, Pipeline)):
        raise TypeError(f"entry point '{name}' is {loaded!r}, not a Pipeline")
    return loaded
