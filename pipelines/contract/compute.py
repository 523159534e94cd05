"""Where tensors live: the device rule, CPU threads and the allocator, the same for every pipeline.

`prepare_process` is called once by a pipeline's `load`, before its first tensor. Nothing falls back in silence: only
"auto" may end on the CPU. torch is imported inside the functions.
"""

from __future__ import annotations

import ctypes
import platform
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.contract.errors import DeviceError

if TYPE_CHECKING:
    from pipelines.contract.pipeline import ComputeOptions

PRECISIONS = ("fp32", "bf16")

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
HELD_BYTES = 2**31 - 1
"""Blocks up to this size stay with the process when freed. By default glibc hands every large tensor back to the
kernel, and faulting its pages in again costs more than the arithmetic: tuned, the networks run about three times as
fast. Worker processes are recycled, which bounds what is held."""

_DEVICE = re.compile(r"cuda(?::(\d+))?")


@dataclass(frozen=True)
class Device:
    """The device chosen: torch's name for it, and a name for people."""

    name: str
    title: str

    @property
    def is_cuda(self) -> bool:
        """True on a GPU."""
        return self.name.startswith("cuda")


def prepare_process(options: ComputeOptions) -> Device:
    """Tune the allocator, set the threads, choose the device.

    Raises
    ------
    DeviceError
        If the configured device or precision cannot be had.
    """
    tune_allocator()
    import torch

    if options.precision not in PRECISIONS:
        raise DeviceError(f"precision '{options.precision}' is unknown; use {' or '.join(PRECISIONS)}.")
    if options.threads > 0:
        torch.set_num_threads(options.threads)
    device = choose_device(options.device, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    if options.precision == "bf16" and device.is_cuda and not torch.cuda.is_bf16_supported():
        raise DeviceError(f"{device.title} has no bf16; set the precision to fp32.")
    if device.is_cuda:
        return Device(device.name, f"{device.name} ({torch.cuda.get_device_name(device.name)})")
    return device


def choose_device(configured: str, gpus: int) -> Device:
    """Choose a device by name.

    Parameters
    ----------
    configured
        "auto", "cpu", "cuda" (the first) or "cuda:N".
    gpus
        CUDA devices that this process can use.

    Raises
    ------
    DeviceError
        If the name is unknown or names a GPU that is not there.
    """
    wanted = configured.strip().lower()
    if wanted == "auto":
        wanted = "cuda:0" if gpus else "cpu"
    if wanted == "cpu":
        return Device("cpu", "CPU")
    found = _DEVICE.fullmatch(wanted)
    if not found:
        raise DeviceError(f"device '{configured}' is unknown; use auto, cpu, cuda or cuda:N.")
    number = int(found.group(1) or 0)
    if number >= gpus:
        there = (
            f"only {gpus} GPU(s) can be used" if gpus else "no GPU can be used (no device, no driver or a CPU build)"
        )
        raise DeviceError(
            f"device '{configured}' is configured, but {there} in this process; repair the driver, or set the device "
            "to auto or cpu."
        )
    return Device(f"cuda:{number}", f"cuda:{number}")


def tune_allocator() -> bool:
    """Make glibc keep large freed blocks (see `HELD_BYTES`); return False where there is no glibc to tune."""
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return False
    mmap_kept = libc.mallopt(M_MMAP_THRESHOLD, HELD_BYTES)
    trim_kept = libc.mallopt(M_TRIM_THRESHOLD, HELD_BYTES)
    return bool(mmap_kept and trim_kept)


def fast_precision(device: str) -> str:
    """Return the precision of `PRECISIONS` in which a device (torch's name) trains faster.

    bf16 only where the processor multiplies it (AMX, AVX-512 BF16; a GPU from Ampere on): elsewhere it is emulated, and
    a training step of MT-UNet on a CPU with AVX2 was measured ten times as slow as in fp32. An older torch cannot say
    what the processor has; then it is fp32, which is never emulated.
    """
    import torch

    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    ask = getattr(torch.cpu, "get_capabilities", None)
    can = ask() if ask is not None else {}
    return "bf16" if can.get("amx_bf16") or can.get("avx512_bf16") else "fp32"


def autocast(device: Device, precision: str) -> AbstractContextManager[Any]:
    """Return the context in which a network runs in a precision of `PRECISIONS`; fp32 changes nothing."""
    if precision != "bf16":
        return nullcontext()
    import torch

    return torch.autocast("cuda" if device.is_cuda else "cpu", dtype=torch.bfloat16)
