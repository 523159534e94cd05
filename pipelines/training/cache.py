"""Filling a cache of simulated patients with several processes.

What is written, and where, is the pipeline's; here are the processes and the progress only.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

Job = TypeVar("Job")
Progress = Callable[[float, str], None]


def fill_cache(
    write: Callable[[Job], None],
    missing: Sequence[Job],
    wanted: int,
    workers: int = 1,
    progress: Progress | None = None,
) -> None:
    """Write what a cache lacks.

    Parameters
    ----------
    write : a function of a module (it is sent to other processes) that simulates one patient and writes it.
    missing : one job for each patient to write. wanted : patients in all, those already there included.
    workers : processes.

    Raises
    ------
    RuntimeError
        If a patient cannot be simulated, with its job; those written before are kept.
    """
    if not missing:
        return
    done = wanted - len(missing)
    # spawn: a fork of a process that already runs torch's threads may hang.
    with multiprocessing.get_context("spawn").Pool(min(workers, len(missing))) as pool:
        for _ in pool.imap_unordered(partial(_named, write), missing):
            done += 1
            if progress is not None:
                progress(done / wanted, f"simulated {done} of {wanted} patients")


def _named(write: Callable[[Job], None], job: Job) -> None:
    try:
        write(job)
    except Exception as error:
        raise RuntimeError(f"simulating {job} failed: {type(error).__name__}: {error}") from error
