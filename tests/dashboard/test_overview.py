"""The first page: lost workers, running jobs, queues, charts, destinations, silence alarms.

Alarms and charts are pure, so they are asked directly, too, with weeks made up by hand.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from node.bench.seed import Plan, seed
from node.dashboard.liveness import SILENCE, is_lost
from node.dashboard.pages.overview_charts import WINDOWS, start_of, throughput
from node.dashboard.pages.overview_silence import silence
from node.registry.database import Registry
from node.registry.jobs import claim_job, expire_leases, renew_job
from node.registry.queries_overview import Activity, finished_since, source_activity
from node.registry.views import WorkerRow
from node.registry.workers import WorkerStatus, write_status
from tests.dashboard.conftest import NOW, Site

HOUR = timedelta(hours=1)


def worker(heartbeat_at: datetime, host: str = "elsewhere", pid: int = 1) -> WorkerRow:
    return WorkerRow("infer-1", "infer", host, pid, "CPU", NOW, heartbeat_at, 0, None)


def weeks(open_hours: range, days: range = range(7), until: datetime = NOW, count: int = 28) -> frozenset[datetime]:
    """Busy hours of a source that sends at these hours on these weekdays, for `count` days before `until`."""
    midnight = until.replace(hour=0)
    hours = (midnight - timedelta(days=back) + hour * HOUR for back in range(count) for hour in open_hours)
    return frozenset(at for at in hours if at < until and at.weekday() in days)


def test_a_worker_is_lost_after_missed_heartbeats_wherever_it_runs() -> None:
    assert not is_lost(worker(NOW), NOW + SILENCE)
    assert is_lost(worker(NOW), NOW + SILENCE + timedelta(seconds=1))


def test_a_killed_worker_of_this_host_is_lost_at_once() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    here = worker(NOW, socket.gethostname(), process.pid)
    assert not is_lost(here, NOW)
    process.kill()
    process.communicate()
    assert is_lost(here, NOW)


def test_the_overview_names_a_lost_worker_and_its_job(site: Site, viewer: TestClient) -> None:
    status = WorkerStatus("infer-1@here", "infer", "elsewhere", os.getpid(), "CPU", NOW, 10**9, 17)
    with site.registry.transaction() as session:
        write_status(session, status, NOW)
    assert "is lost" not in viewer.get("/").text
    site.clock.forward(SILENCE.total_seconds() + 1)
    page = viewer.get("/", params={"fragment": "workers"}).text
    assert "Worker infer-1@here is lost" in page
    assert "Its job 17 is given to another worker" in page


def test_a_running_job_shows_its_stage_and_its_lost_worker_stays_told(site: Site, viewer: TestClient) -> None:
    seed(site.registry, Plan(instances=60, jobs=300, now=NOW))
    with site.registry.transaction() as session:
        claim = claim_job(session, 200, "infer-7@host/abc", NOW, 60)
        assert claim is not None
        renew_job(session, claim, NOW, 60, 0.37, "posterior view")
    page = viewer.get("/", params={"fragment": "running"}).text
    assert "37 %" in page
    assert "posterior view" in page
    assert "infer-7@host" in page
    with site.registry.transaction() as session:
        assert 200 in expire_leases(session, NOW + timedelta(seconds=120), 3).queued
        again = claim_job(session, 200, "infer-8@host/def", NOW + timedelta(seconds=121), 60)
        assert again is not None
        assert 200 in expire_leases(session, NOW + timedelta(seconds=300), 2).failed
    page = viewer.get("/", params={"fragment": "workers"}).text
    assert "The worker was lost; the job is queued again." in page
    assert "The worker was lost in each of 2 attempts" in page
    assert 'href="/jobs/200"' in page


def test_queues_and_destinations_are_counted(site: Site, viewer: TestClient) -> None:
    seed(site.registry, Plan(instances=60, jobs=300, now=NOW))
    queues = viewer.get("/", params={"fragment": "queues"}).text
    assert "/jobs?state=queued&amp;pipeline=lumbar" in queues
    destinations = viewer.get("/", params={"fragment": "destinations"}).text
    assert "pacs" in destinations
    assert "not configured" in destinations


def test_the_page_shows_what_waits_for_those_who_come_without_javascript(site: Site, viewer: TestClient) -> None:
    seed(site.registry, Plan(instances=60, jobs=300, now=NOW))
    page = viewer.get("/?window=week").text
    for said in ("Running now", "Queues", "Destinations", "Throughput and turnaround", "Workers", "free on the disk"):
        assert said in page
    assert page.count("<svg viewBox") >= 3
    assert 'aria-label="Jobs done, last week' in page


@pytest.mark.parametrize("window", WINDOWS.values(), ids=list(WINDOWS))
def test_charts_count_every_job_of_their_window_once(sqlite_registry: Registry, window) -> None:  # type: ignore[no-untyped-def]
    seed(sqlite_registry, Plan(instances=40, jobs=600, now=NOW))
    start = start_of(window, NOW)
    with sqlite_registry.reading() as session:
        found = finished_since(session, start, window.by_minute)
    told = throughput(window, NOW, found)
    assert sum(told.done) == sum(state == "done" for _at, state, _seconds in found)
    assert len(told.labels) == round(window.span / window.step)
    assert start + window.span - window.step <= NOW < start + window.span


def test_turnaround_is_the_median_of_each_step() -> None:
    at = NOW - timedelta(minutes=7)
    told = throughput(WINDOWS["hour"], NOW, [(at, "done", 60.0), (at, "done", 120.0), (at, "done", 600.0),
                                             (at, "failed", 1.0)])  # fmt: skip
    assert [value for value in told.minutes if value is not None] == [2.0]
    assert (sum(told.done), sum(told.failed)) == (3, 1)


WEDNESDAY_NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def heard(hours: frozenset[datetime]) -> Activity:
    return Activity("NM_ROOM_1", hours, max(hours) + timedelta(minutes=30))


def test_a_scanner_that_stops_in_the_morning_is_an_alarm_by_noon() -> None:
    busy = weeks(range(7, 18), range(5), WEDNESDAY_NOON.replace(hour=8))
    alarm = silence(heard(busy), WEDNESDAY_NOON)
    assert alarm is not None
    assert alarm.hours == 4
    assert alarm.usual > 0.9


@pytest.mark.parametrize("now", [
    WEDNESDAY_NOON.replace(hour=6), WEDNESDAY_NOON.replace(hour=23, minute=59),
    datetime(2026, 3, 1, 23, 0, tzinfo=UTC),
])  # fmt: skip
def test_nights_and_weekends_are_no_alarm(now: datetime) -> None:
    assert silence(heard(weeks(range(7, 18), range(5), now)), now) is None


def test_a_rare_source_and_a_new_one_raise_no_alarm() -> None:
    rare = frozenset(WEDNESDAY_NOON - timedelta(days=back, hours=3) for back in range(0, 28, 3))
    assert silence(heard(rare), WEDNESDAY_NOON) is None
    new = weeks(range(8, 10), until=WEDNESDAY_NOON - timedelta(days=1), count=3)
    assert silence(heard(new), WEDNESDAY_NOON) is None


def test_the_page_says_which_source_went_quiet(site: Site, viewer: TestClient) -> None:
    seed(site.registry, Plan(instances=60, jobs=60_000 // 10, now=NOW))
    with site.registry.reading() as session:
        assert {one.name for one in source_activity(session, NOW - timedelta(days=28))} >= {"NM_ROOM_1", "PACS"}
    assert "has gone quiet" not in viewer.get("/").text
    site.clock.forward(6 * 86400)
    page = site.logged_in("vera").get("/").text
    assert "Source NM_ROOM_1 has gone quiet" in page
    assert "Rule bone-scan has gone quiet" in page
