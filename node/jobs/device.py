"""The device a worker computes on, looked at once when it starts.

A configured GPU that is missing must not be noticed by the first job: the worker refuses to start, the jobs stay
queued for one that can, and nothing ever moves to the CPU in silence.
"""

from __future__ import annotations

from node.errors import ConfigurationError
from node.settings.model import WorkerSettings


def describe_device(settings: WorkerSettings) -> str:
    """The device in words, for the workers' table ("cuda:0 (NVIDIA H200)", "cpu (2 threads)"); imports torch.

    Raises
    ------
    ConfigurationError
        If a CUDA device is configured and not there.
    """
    import torch

    wanted = settings.device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and count == 0):
        return f"cpu ({settings.threads or torch.get_num_threads()} threads)"
    index = int(wanted.partition(":")[2] or 0)
    if index >= count:
        there = f"torch sees {count} CUDA device(s)" if count else "torch sees no CUDA device"
        build = "" if torch.version.cuda else "; this torch is built without CUDA"
        raise ConfigurationError(
            [
                f"worker.device: '{wanted}' is configured but {there}{build}. Check the driver (nvidia-smi) and the "
                "container's access to the GPU, or set worker.device to auto or cpu. No job was touched."
            ]
        )
    return f"cuda:{index} ({torch.cuda.get_device_name(index)})"
