"""Patients simulated by other processes, into a cache or one after another; failures are named, threads bounded."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pipelines.training.processes import ahead, fill_cache


def write(job: tuple[int, Path]) -> None:
    seed, folder = job
    if seed == 3:
        raise ValueError("no bones")
    (folder / f"{seed}.txt").write_text("patient")


def test_all_that_is_missing_is_written_and_progress_reaches_one(tmp_path):
    told = []
    fill_cache(write, [(seed, tmp_path) for seed in (0, 1)], 3, 1, lambda share, text: told.append((share, text)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.txt", "1.txt"]
    assert told[-1] == (1.0, "simulated 3 of 3 patients")


def test_a_patient_that_fails_is_named_with_the_reason(tmp_path):
    with pytest.raises(RuntimeError, match=r"\(3, .*ValueError: no bones"):
        fill_cache(write, [(seed, tmp_path) for seed in (1, 2, 3)], 3, 1)
    assert (tmp_path / "2.txt").exists()


def tell_threads(job: tuple[int, Path]) -> None:
    seed, folder = job
    (folder / f"{seed}.txt").write_text(os.environ.get("OPENBLAS_NUM_THREADS", "any"))


def test_processes_that_share_the_cores_take_one_thread_each(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    fill_cache(tell_threads, [(1, tmp_path)], 1, 1)
    assert (tmp_path / "1.txt").read_text() == "1"
    assert os.environ["OPENBLAS_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def stamped(job: tuple[int, Path]) -> int:
    seed, folder = job
    (folder / str(seed)).touch()
    return 10 * seed


def test_results_come_in_order_and_no_more_than_one_for_each_process_waits(tmp_path):
    seen = []
    for result in ahead(stamped, [(seed, tmp_path) for seed in range(6)], 1):
        seen.append(result)
        time.sleep(0.2)
        # The one in hand, one that waits, and the one after it that its process may have begun.
        assert len(list(tmp_path.iterdir())) <= len(seen) + 2
    assert seen == [0, 10, 20, 30, 40, 50]


def test_a_failure_in_another_process_reaches_the_caller_with_the_job(tmp_path):
    with pytest.raises(RuntimeError, match=r"\(3, .*ValueError: no bones"):
        list(ahead(write, [(3, tmp_path)]))
