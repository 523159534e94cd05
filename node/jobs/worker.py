"""A worker process: Celery's loop, our claim, our heartbeat.

    start: schema, device, workers' row, sweep --> Celery consumer --wake-up--> JobRunner / DeliveryRunner
    SIGTERM: no new work; what runs may end within GRACE_S, else it is given back and the process ends

A worker of the `infer` queue runs one job at a time in its main thread (Celery's solo pool), because CUDA does not
survive a fork; several GPUs want several workers. One that only delivers uses threads, so that a destination that
does not answer holds up nobody else. The broker may be away at the start and go away at any time: Celery tries to
reach it until it is back.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from celery import Celery, signals
from celery.apps.worker import Worker
from celery.exceptions import SecurityWarning
from celery.platforms import EX_OK
from celery.worker import state

from node.errors import OsteonError, PermanentError
from node.jobs.app import CONFIRM_TASK, DELIVER, DELIVER_TASK, INFER, INFER_TASK, UPKEEP, Enqueuer, create_app
from node.jobs.heartbeat import GRACE_S, Heartbeat, utc_now
from node.jobs.sweep import Sweeper
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.workers import WorkerStatus
from node.settings import Configuration
from node.storage import LocalStorage

DELIVERY_THREADS = 4
"""Associations that one delivering worker opens at the same time."""

MAX_NAME_LENGTH = 100  # with the random part of a token it fits the registry's column

log = structlog.get_logger(__name__)


def worker_name(queues: Sequence[str], host: str, pid: int) -> str:
    """The name of a worker that was given none; unique while it lives."""
    return f"{'+'.join(queues)}@{host}:{pid}"


def run_worker(configuration: Configuration, queues: Sequence[str], name: str | None = None) -> None:
    """Serve `queues` ("infer", "deliver", "upkeep") until SIGTERM or SIGINT.

    Raises
    ------
    ConfigurationError
        If a configured GPU is missing; no job was touched.
    OsteonError
        If the worker ended by itself.
    """
    host = socket.gethostname()
    name = name or worker_name(queues, host, os.getpid())
    if "/" in name or len(name) > MAX_NAME_LENGTH:
        raise PermanentError(f"'{name}' cannot name a worker: at most {MAX_NAME_LENGTH} characters, and no '/'")
    registry = Registry(configuration.database_url)
    upgrade(registry)
    status = WorkerStatus(
        name=name,
        kind=queues[0],
        host=host,
        pid=os.getpid(),
        device=_device(configuration, queues),
        started_at=utc_now(),
        rss_bytes=0,
        job_id=None,
    )
    heartbeat = Heartbeat(Registry(configuration.database_url), status)
    app = create_app(configuration)
    enqueuer = Enqueuer(app)
    _add_tasks(app, configuration, registry, heartbeat, enqueuer, name, queues)
    heartbeat.start()
    Sweeper(configuration.settings, registry, enqueuer).step(utc_now())
    log.info("worker.started", name=name, queues=list(queues), device=status.device)
    try:
        exit_code = _consume(app, queues, name, heartbeat)
    finally:
        heartbeat.stop()
        registry.dispose()
    log.info("worker.stopped", name=name)
    if exit_code:
        raise OsteonError(f"the worker {name} ended by itself (code {exit_code}); its log says why")


def _device(configuration: Configuration, queues: Sequence[str]) -> str:
    if INFER not in queues:
        return ""
    from node.jobs.device import describe_device

    return describe_device(configuration)


def _add_tasks(
    app: Celery,
    configuration: Configuration,
    registry: Registry,
    heartbeat: Heartbeat,
    enqueuer: Enqueuer,
    name: str,
    queues: Sequence[str],
) -> None:
    storage = LocalStorage(configuration.data_dir)
    if INFER in queues:
        from node.jobs.infer import JobRunner

        runner = JobRunner(configuration, registry, storage, heartbeat, enqueuer, name)

        def infer(number: int) -> None:
            if runner.run(number).process_is_broken:
                log.error("worker.must_restart", name=name)
                os.kill(os.getpid(), signal.SIGTERM)

        _add_task(app, INFER_TASK, infer)
    if DELIVER in queues or UPKEEP in queues:
        from node.deliver.run import DeliveryRunner

        deliveries = DeliveryRunner(configuration, registry, storage, heartbeat, name)
        _add_task(app, DELIVER_TASK, deliveries.run)
        _add_task(app, CONFIRM_TASK, deliveries.confirm)


def _add_task(app: Celery, name: str, body: Callable[[int], object]) -> None:
    def task(number: Any) -> None:
        if not isinstance(number, int):
            log.warning("queue.strange_message", task=name)
            return
        try:
            body(number)
        except Exception:
            # The registry could not be written. The lease ends by itself, and the sweep brings the work back.
            log.error("task.crashed", task=name, number=number, exc_info=True)

    app.task(task, name=name, ignore_result=True)


def _consume(app: Celery, queues: Sequence[str], name: str, heartbeat: Heartbeat) -> int:
    """Celery's own loop, until it ends; returns its exit code."""
    solo = INFER in queues

    def keep_our_logging(**_: Any) -> None:
        logging.getLogger("celery").setLevel(logging.WARNING)

    def on_signal(*_: object) -> None:
        if heartbeat.draining:  # asked twice: at once
            heartbeat.drain(0.0)
            return
        log.info("worker.draining", name=name, grace_s=GRACE_S)
        heartbeat.drain(GRACE_S)
        state.should_stop = EX_OK  # Celery ends its loop as soon as no task runs

    class Program(Worker):  # type: ignore[misc]
        def install_platform_tweaks(self, worker: Worker) -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, on_signal)

    signals.setup_logging.connect(keep_our_logging, weak=False)
    warnings.filterwarnings("ignore", category=SecurityWarning)  # root in a container, and no pickle: no news
    worker = Program(
        app=app,
        hostname=name,
        queues=list(queues),
        pool="solo" if solo else "threads",
        concurrency=1 if solo else DELIVERY_THREADS,
        without_heartbeat=True,
        without_gossip=True,
        without_mingle=True,
        quiet=True,
    )
    worker.start()
    return int(worker.exitcode or 0)
