"""The device rule: a named GPU that is missing is an error, only "auto" may end on the CPU; cheap imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from pipelines.contract import ComputeOptions, DeviceError
from pipelines.contract.compute import choose_device, prepare_process, tune_allocator


@pytest.mark.parametrize(
    ("configured", "gpus", "name"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda:0"), (" CUDA:1 ", 2, "cuda:1")],
)
def test_devices_are_chosen_by_name(configured, gpus, name):
    assert choose_device(configured, gpus).name == name


@pytest.mark.parametrize(
    ("configured", "gpus", "said"),
    [
        ("cuda", 0, "no GPU can be used"),
        ("cuda:2", 2, r"only 2 GPU\(s\)"),
        ("tpu", 1, "unknown"),
        ("cuda:x", 1, "unknown"),
    ],
)
def test_a_device_that_is_not_there_is_an_error_and_never_the_cpu(configured, gpus, said):
    with pytest.raises(DeviceError, match=said):
        choose_device(configured, gpus)


def test_this_process_is_held_to_the_same_rule():
    missing = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises(DeviceError, match=f"cuda:{missing}"):
        prepare_process(ComputeOptions(device=f"cuda:{missing}"))
    assert prepare_process(ComputeOptions(device="cpu")).title == "CPU"


def test_an_unknown_precision_is_an_error():
    with pytest.raises(DeviceError, match="fp8"):
        prepare_process(ComputeOptions(device="cpu", precision="fp8"))


def test_threads_are_set_where_asked():
    before = torch.get_num_threads()
    try:
        prepare_process(ComputeOptions(device="cpu", threads=1))
        assert torch.get_num_threads() == 1
        prepare_process(ComputeOptions(device="cpu", threads=0))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
def test_the_tuned_allocator_keeps_freed_memory():
    """After freeing 200 MB of many blocks a tuned process still holds them; an untuned one gives them back."""
    script = (
        "import sys, numpy as np\n"
        "from pipelines.contract.compute import tune_allocator\n"
        "if sys.argv[1] == 'tuned' and not tune_allocator(): sys.exit(7)\n"
        "rss = lambda: int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "before = rss(); blocks = [np.ones(20_000_000, np.uint8) for _ in range(10)]; del blocks\n"
        "print(rss() - before)\n"
    )
    held = {}
    for mode in ("tuned", "default"):
        done = subprocess.run(
            [sys.executable, "-c", script, mode], capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode == 7:
            pytest.skip("this C library is not glibc")
        held[mode] = int(done.stdout)
    assert held["tuned"] > 150e6 > 50e6 > held["default"]
    assert isinstance(tune_allocator(), bool)


def test_naming_and_importing_pipelines_does_not_import_torch():
    script = (
        "import sys\n"
        "import pipelines.contract, pipelines.contract.weights, pipelines.contract.compute\n"
        "from pipelines.bone_scan.pipeline import BoneScanPipeline\n"
        "BoneScanPipeline()\n"
        "print([name for name in ('torch', 'monai') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
