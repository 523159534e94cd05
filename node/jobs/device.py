"""The device a worker computes on, looked at once when it starts.

A configured GPU that is missing must not be noticed by the first job: the worker refuses to start, the jobs stay
queued for one that can, and nothing ever moves to the CPU in silence.
"""

from __future__ import annotations

from node.errors import ConfigurationError
from node.settings import Configuration
from pipelines.contract import ComputeOptions, DeviceError
from pipelines.contract.compute import prepare_process


def compute_options(configuration: Configuration) -> ComputeOptions:
    """What a pipeline is loaded with; the site's own weights (`osteon models install`) come before those that ship."""
    worker = configuration.settings.worker
    return ComputeOptions(worker.device, worker.precision, worker.threads, configuration.weights_dir)


def describe_device(configuration: Configuration) -> str:
    """Prepare this process for computing and name its device ("cuda:0 (NVIDIA H200)", "CPU"); imports torch.

    Raises
    ------
    ConfigurationError
        If the configured device or precision cannot be had.
    """
    try:
        return prepare_process(compute_options(configuration)).title
    except DeviceError as error:
        raise ConfigurationError([f"osteon.yaml: worker: {error} No job was touched."]) from error
