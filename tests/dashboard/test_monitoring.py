"""Grafana's board and Prometheus' alerts ask for metrics and labels that /metrics gives, over a node with work in it.

Prometheus' own checker judges the files where it is installed; the names are compared with what the node exports.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from node.bench.seed import Plan, seed
from node.dashboard.metrics import Seen, exposition
from node.dashboard.pages.overview_silence import Silence
from node.registry.queries import overview
from node.registry.queries_overview import DestinationRow, QueueRow
from tests.dashboard.conftest import NOW, Site
from tests.fixtures.programs import SEARCH_PATH

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "osteon-alerts.yml"


@pytest.fixture
def exported(site: Site) -> dict[str, dict[tuple[str, ...], float]]:
    """Metric -> label values by the labels' order -> value, of a node where everything has something to tell."""
    seed(site.registry, Plan(instances=400, jobs=400, now=NOW))
    minute = timedelta(minutes=1)
    with site.registry.reading() as session:
        seen = Seen(
            now=NOW,
            healthy=True,
            free_bytes=7,
            overview=overview(session, NOW),
            queues=[QueueRow("infer", "lumbar", 3, NOW - 2 * minute), QueueRow("deliver", "pacs", 0, None)],
            destinations=[DestinationRow("pacs", 2, NOW - minute, 1, NOW - minute)],
            paused=frozenset({"pacs"}),
            silences={"source": [Silence("GAMMA2", NOW - 300 * minute, 5, 0.9)]},
            turnaround_s=[10.0, 30.0, 200.0],
        )
    families = text_string_to_metric_families(exposition(seen).decode())
    return {
        family.name: {tuple(v for _k, v in sorted(sample.labels.items())): sample.value for sample in family.samples}
        for family in families
    }


def labels_of(text: str) -> set[str]:
    """Names of osteon's metrics in a PromQL expression."""
    return set(re.findall(r"\bosteon_\w+", text))


def test_metrics_tell_queues_destinations_workers_and_silence(
    exported: dict[str, dict[tuple[str, ...], float]],
) -> None:
    assert exported["osteon_queue_depth"] == {("lumbar", "infer"): 3, ("pacs", "deliver"): 0}
    assert exported["osteon_queue_oldest_seconds"] == {("lumbar", "infer"): 120}
    assert exported["osteon_destination_paused"] == {("pacs",): 1}
    assert exported["osteon_turnaround_seconds"] == {("median",): 30, ("max",): 200}
    assert exported["osteon_silent_hours"] == {("source", "GAMMA2"): 5}
    assert exported["osteon_worker_up"][("infer", "infer@worker-host:4242")] == 1
    assert exported["osteon_worker_busy"] == {
        ("infer", "infer@worker-host:4242"): 1,
        ("deliver", "deliver@worker-host:4242"): 0,
        ("upkeep", "upkeep@worker-host:4242"): 0,
    }


def test_the_board_and_the_alerts_ask_for_nothing_that_is_not_exported(
    exported: dict[str, dict[tuple[str, ...], float]],
) -> None:
    board = json.loads((DEPLOY / "grafana" / "osteon.json").read_text())
    asked = {name for panel in board["panels"] for target in panel["targets"] for name in labels_of(target["expr"])}
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    asked |= {name for rule in rules for name in labels_of(rule["expr"])}
    assert asked <= exported.keys()
    # ... and all that is exported is shown or alarmed about, but for what only counts.
    assert exported.keys() - asked <= {"osteon_series", "osteon_deliveries"}
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_no_alert_of_one_node_is_silenced_by_another() -> None:
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    matched = {rule["alert"]: re.findall(r"\bon\s*\(([^)]*)\)", rule["expr"]) for rule in rules}
    assert matched["OsteonDeliveriesWait"], "a paused destination does not alarm"
    for alert, label_lists in matched.items():
        assert all("instance" in re.split(r"\s*,\s*", labels.strip()) for labels in label_lists), alert


@pytest.mark.peer
def test_prometheus_takes_the_configuration_and_the_alerts() -> None:
    promtool = shutil.which("promtool", path=SEARCH_PATH)
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    told = subprocess.run(
        [promtool, "check", "config", str(ALERTS.with_name("prometheus.yml"))],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout + told.stderr
