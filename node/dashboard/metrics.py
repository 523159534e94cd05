"""The registry's figures in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from node.registry.queries import Overview

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Collector(Collector):
    def __init__(self, overview: Overview, free_bytes: int) -> None:
        self._overview = overview
        self._free_bytes = free_bytes

    def collect(self) -> list[Metric]:
        overview = self._overview
        families: list[Metric] = []
        for name, what, counts in (
            ("series", "Series", overview.series),
            ("jobs", "Jobs", overview.jobs),
            ("deliveries", "Deliveries", overview.deliveries),
        ):
            family = GaugeMetricFamily(f"osteon_{name}", f"{what} by state", labels=["state"])
            for state, count in sorted(counts.items()):
                family.add_metric([state], count)
            families.append(family)
        families.append(GaugeMetricFamily("osteon_instances", "Instances registered", value=overview.instances))
        families.append(
            GaugeMetricFamily(
                "osteon_oldest_queued_seconds", "Age of the oldest job in the queue", value=overview.oldest_queued_s
            )
        )
        families.append(GaugeMetricFamily("osteon_disk_free_bytes", "Free bytes for files", value=self._free_bytes))
        heartbeat = GaugeMetricFamily(
            "osteon_worker_heartbeat_timestamp_seconds", "Last heartbeat of a worker", labels=["worker", "kind"]
        )
        for worker in overview.workers:
            heartbeat.add_metric([worker.name, worker.kind], worker.heartbeat_at.timestamp())
        families.append(heartbeat)
        return families


def exposition(overview: Overview, free_bytes: int) -> bytes:
    """All metrics as one page."""
    registry = CollectorRegistry()
    registry.register(_Collector(overview, free_bytes))
    return generate_latest(registry)
