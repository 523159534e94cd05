"""Simulated patients from other processes: into a cache, or one after another while this process does its own work.

What is simulated, and where it is written, is the pipeline's; here are the processes and the progress only.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

Job = TypeVar("Job")
Result = TypeVar("Result")
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
    with _one_thread_each(), multiprocessing.get_context("spawn").Pool(min(workers, len(missing))) as pool:
        for _ in pool.imap_unordered(partial(_named, write), missing):
            done += 1
            if progress is not None:
                progress(done / wanted, f"simulated {done} of {wanted} patients")


def ahead(make: Callable[[Job], Result], jobs: Sequence[Job], workers: int = 1) -> Iterator[Result]:
    """Give what `make` makes of each job, in order, made by other processes while the caller works on the last one.

    Parameters
    ----------
    make : a function of a module. workers : processes; no more than one result each waits in memory.

    Raises
    ------
    RuntimeError
        If a patient cannot be simulated, with its job.
    """
    # spawn: a fork of a process that already runs torch's threads may hang.
    with ProcessPoolExecutor(max(1, workers), multiprocessing.get_context("spawn")) as pool:
        waiting: deque[Future[Result]] = deque()
        for job in jobs:
            with _one_thread_each():  # processes start with the first jobs
                waiting.append(pool.submit(_named, make, job))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have processes that are started meanwhile use one thread of BLAS and OpenMP each.

    The processes share out the cores already. OpenBLAS would start a thread per core in each of them, and these wait
    for each other at full load: a reconstruction took five times as long.
    """
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _named(make: Callable[[Job], Result], job: Job) -> Result:
    try:
        return make(job)
    except Exception as error:
        raise RuntimeError(f"simulating {job} failed: {type(error).__name__}: {error}") from error
