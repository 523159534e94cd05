"""The registry's figures in Prometheus' text format; deploy/prometheus and deploy/grafana are made for these names.

Gauges only, read from the registry at each scrape: they are right whichever process answers, and after any restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.dashboard.liveness import is_lost
from node.dashboard.pages.overview_silence import Silence
from node.registry.queries import Overview
from node.registry.queries_overview import DestinationRow, QueueRow

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

RECENT = timedelta(hours=1)
"""Jobs that ended within this time make up the turnaround."""

Sample = tuple[Sequence[str], float]


@dataclass(frozen=True)
class Seen:
    """What a scrape tells. turnaround_s: from made to done, of the jobs done within RECENT."""

    now: datetime
    healthy: bool
    free_bytes: int
    overview: Overview
    queues: Sequence[QueueRow]
    destinations: Sequence[DestinationRow]
    paused: frozenset[str]
    silences: Mapping[str, Sequence[Silence]]
    turnaround_s: Sequence[float]


def exposition(seen: Seen) -> bytes:
    """All metrics as one page."""
    registry = CollectorRegistry()
    registry.register(_Collector(seen))
    return generate_latest(registry)


class _Collector(Collector):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        yield from _counts(self._seen)
        yield from _waiting(self._seen)
        yield from _workers(self._seen)


def _counts(seen: Seen) -> Iterable[Metric]:
    view = seen.overview
    yield _one("healthy", "1 if studies can flow, as /healthz says", float(seen.healthy))
    for name, what, counts in (
        ("series", "Series", view.series),
        ("jobs", "Jobs", view.jobs),
        ("deliveries", "Deliveries", view.deliveries),
    ):
        yield _many(name, f"{what} by state", ["state"], [([state], n) for state, n in sorted(counts.items())])
    yield _one("instances", "Instances registered", view.instances)
    yield _one("disk_free_bytes", "Free bytes for files", seen.free_bytes)
    if seen.turnaround_s:
        samples = [(["median"], median(seen.turnaround_s)), (["max"], max(seen.turnaround_s))]
        yield _many("turnaround_seconds", "From made to done, of the jobs of the last hour", ["statistic"], samples)
    silent = [([kind, alarm.name], float(alarm.hours)) for kind, alarms in seen.silences.items() for alarm in alarms]
    yield _many("silent_hours", "Hours for which a busy source or rule has been quiet", ["kind", "name"], silent)


def _waiting(seen: Seen) -> Iterable[Metric]:
    rows = [([row.queue, row.part], row) for row in seen.queues]
    yield _one("oldest_queued_seconds", "Age of the oldest job in the queue", seen.overview.oldest_queued_s)
    yield _many("queue_depth", "What waits, by queue", ["queue", "part"], [(names, row.depth) for names, row in rows])
    yield _many(
        "queue_oldest_seconds",
        "Age of what waits longest, by queue",
        ["queue", "part"],
        [(names, (seen.now - row.oldest_at).total_seconds()) for names, row in rows if row.oldest_at],
    )
    label = ["destination"]
    for name, what, values in (
        ("pending", "Results that wait for a destination", [([row.name], row.pending) for row in seen.destinations]),
        (
            "failed",
            "Results given up, until a person sends them",
            [([row.name], row.failed) for row in seen.destinations],
        ),
        (
            "paused",
            "1 while a person has paused it",
            [([row.name], row.name in seen.paused) for row in seen.destinations],
        ),
        (
            "last_success_timestamp_seconds",
            "When it last took a result",
            [([row.name], row.last_success_at.timestamp()) for row in seen.destinations if row.last_success_at],
        ),
    ):
        yield _many(f"destination_{name}", what, label, [(names, float(value)) for names, value in values])


def _workers(seen: Seen) -> Iterable[Metric]:
    workers = [([worker.name, worker.kind], worker) for worker in seen.overview.workers]
    labels = ["worker", "kind"]
    yield _many(
        "worker_heartbeat_timestamp_seconds",
        "Last heartbeat of a worker",
        labels,
        [(names, worker.heartbeat_at.timestamp()) for names, worker in workers],
    )
    up = [(names, float(not is_lost(worker, seen.now))) for names, worker in workers]
    yield _many("worker_up", "0 for a worker that is lost", labels, up)
    busy = [(names, float(worker.job_id is not None)) for names, worker in workers]
    yield _many("worker_busy", "1 while a worker has a job", labels, busy)
    memory = [(names, float(worker.rss_bytes)) for names, worker in workers]
    yield _many("worker_memory_bytes", "Resident memory of a worker", labels, memory)


def _one(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"osteon_{name}", what, value=value)


def _many(name: str, what: str, labels: Sequence[str], samples: Iterable[Sample]) -> Metric:
    family = GaugeMetricFamily(f"osteon_{name}", what, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
