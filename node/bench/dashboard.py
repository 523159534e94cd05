"""`osteon bench dashboard`: how long each page takes over a registry with a year of work in it.

    seeded registry --> osteon dashboard (a process of its own) <--HTTP over loopback, logged in as admin-- this process

Time runs from the request to the last byte of the answer; pages take turns in several passes, so that a busy minute of
the machine hurts all of them. Beside it stands the CPU time that the dashboard's process spent on a request, which
does not depend on what else the machine does. Pages that show a job's pictures need files and are not among them.
"""

from __future__ import annotations

import http.cookiejar
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import func, select

from node.bench.seed import Plan, seed, settle
from node.bench.timing import machine
from node.errors import RetriableError
from node.loopback import free_port
from node.registry import accounts
from node.registry.account_models import User
from node.registry.audit import console_actor
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.models import Instance, Job, Study
from node.registry.roles import Role
from node.registry.states import JobState
from node.settings.load import REPOSITORY_CONFIG

SCHEMA = "osteon.bench.dashboard/1"
GOAL_MS = 150.0
PASSES = 4
START_TIMEOUT_S = 120.0
USER, PASSWORD = "bench", "only for the bench, on loopback"

Say = Callable[[str], None]


def bench_dashboard(
    instances: int = 1_000_000, jobs: int = 200_000, rounds: int = 40, url: str = "", say: Say | None = None
) -> dict[str, Any]:
    """Ask for every page `rounds` times.

    Parameters
    ----------
    url
        SQLAlchemy URL of an empty registry or one that `osteon bench seed` filled; empty for a SQLite file that is
        gone afterwards. An account `bench` is made in it.

    Raises
    ------
    RetriableError
        If the dashboard does not start, or a page answers with an error.
    """
    say = say or (lambda _text: None)
    with tempfile.TemporaryDirectory(prefix="osteon-bench-") as name:
        folder = Path(name)
        registry = Registry(url or f"sqlite:///{folder}/registry.sqlite")
        upgrade(registry)
        with registry.reading() as session:
            is_empty = session.scalar(select(Study.id).limit(1)) is None
        if is_empty:
            say(f"making up {instances} instances and {jobs} jobs ...")
            seed(registry, Plan(instances, jobs, datetime.now(UTC)))
            settle(registry)
        _add_account(registry)
        with _dashboard(registry.url, folder) as (address, process):
            visitor = _Visitor(address)
            visitor.log_in()
            rows = _measure(visitor, process, _pages(registry, visitor), rounds, say)
        with registry.reading() as session:
            size = {"instances": session.scalar(select(func.max(Instance.id))),
                    "jobs": session.scalar(select(func.max(Job.id)))}  # fmt: skip
        database = registry.engine.dialect.name
        registry.dispose()
    return {
        "schema": SCHEMA,
        "database": database,
        **size,
        "rounds": rounds,
        "goal_p95_ms": GOAL_MS,
        "over_goal": [name for name, row in rows.items() if row["p95_ms"] > GOAL_MS],
        "machine": {**machine(), "load_average": [round(value, 1) for value in os.getloadavg()]},
        "rows": rows,
    }


def text(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    width = max(len(name) for name in result["rows"])
    lines = [
        f"{result['instances']} instances, {result['jobs']} jobs in {result['database']}; {result['rounds']} requests "
        f"a page; {result['machine']['cores']} cores, load {result['machine']['load_average'][0]}",
        f"  {'':<{width}}  p50 ms  p95 ms  max ms  CPU ms",
    ]
    for name, row in result["rows"].items():
        lines.append(
            f"  {name:<{width}}  {row['p50_ms']:6.1f}  {row['p95_ms']:6.1f}  {row['max_ms']:6.1f}  {row['cpu_ms']:6.1f}"
        )
    over = result["over_goal"]
    lines.append(f"  p95 over {GOAL_MS:.0f} ms: {', '.join(over) if over else 'none'}")
    return "\n".join(lines)


def _add_account(registry: Registry) -> None:
    from node.dashboard.security.passwords import hash_password

    with registry.transaction() as session:
        if session.scalar(select(User.id).where(User.name == USER)) is None:
            accounts.add_user(session, console_actor(), USER, Role.ADMIN, hash_password(PASSWORD), datetime.now(UTC))


def _pages(registry: Registry, visitor: _Visitor) -> dict[str, str]:
    """Name -> address of every page, of the usual filters, and of what should be hard: rare, absent, long past."""
    with registry.reading() as session:
        newest = session.scalar(select(func.max(Job.id))) or 1
        done = session.scalar(
            select(func.max(Job.id)).where(Job.state == JobState.DONE.value, Job.pipeline == "bone-scan")
        )
        study = session.scalars(select(Study).where(Study.id == session.get_one(Job, done or newest).study_id)).one()
        series = study.series[0].series_uid
    past = (datetime.now(UTC) - timedelta(days=300)).date().isoformat()
    cursors = {name: visitor.json(f"/api/v1/{name}?until={past}")["older"] for name in ("jobs", "studies", "series")}
    return {
        "overview": "/",
        "overview, last week": "/?window=week",
        "overview, its jobs alone": "/?fragment=jobs",
        "jobs": "/jobs",
        "jobs, failed": "/jobs?state=failed",
        "jobs, a rare kind": "/jobs?state=cancelled&pipeline=lumbar",
        "jobs, none match": "/jobs?source=NOBODY",
        "jobs, by patient number": "/jobs?text=P17",
        "jobs, by a piece of a name": "/jobs?text=NUMBER+599",
        "jobs, 300 days back": f"/jobs?cursor={cursors['jobs']}",
        "job": f"/jobs/{done or newest}",
        "job, still open": f"/jobs/{newest}",
        "studies": "/studies",
        "studies, not analysed": "/studies?jobs=not+analysed",
        "studies, by accession number": f"/studies?text={study.accession_number}",
        "studies, 300 days back": f"/studies?cursor={cursors['studies']}",
        "study": f"/studies/{study.study_uid}",
        "series": "/series",
        "series, no rule wanted": "/series?jobs=not+analysed&modality=CT",
        "series, none match": "/series?modality=XX",
        "series, 300 days back": f"/series?cursor={cursors['series']}",
        "one series, why": f"/series/{series}",
        "routing": "/routing",
        "routing, edit": "/routing/edit",
        "destinations": "/destinations",
        "models": "/models",
        "trends": "/trends",
        "trends, by patient number": f"/trends?patient={study.patient_id}",
        "trend of a patient": f"/trends/{study.study_uid}",
        "users": "/users",
        "audit": "/audit",
        "audit, by action": "/audit?action=job.priority",
        "audit, none match": "/audit?by=nobody",
        "account": "/account",
        "API, described": "/api/docs",
        "API, overview": "/api/v1/overview",
        "API, jobs": "/api/v1/jobs?limit=500",
        "metrics": "/metrics",
        "healthz": "/healthz",
    }


class _Visitor:
    """A browser, as far as cookies and forms go."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()), urllib.request.ProxyHandler({})
        )

    def get(self, path: str) -> bytes:
        """The body of an answer; RetriableError for an error."""
        try:
            with self._opener.open(self._address + path, timeout=60) as answer:
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503 and path == "/healthz":  # no worker runs here, and it says so
                    return error.read()
            raise RetriableError(f"{path}: the dashboard answered {error.code}") from error

    def json(self, path: str) -> Any:
        import json

        return json.loads(self.get(path))

    def log_in(self) -> None:
        found = re.search(rb'name="csrf" value="(\w+)"', self.get("/login"))
        assert found is not None
        form = {"csrf": found[1].decode(), "name": USER, "password": PASSWORD}
        with self._opener.open(self._address + "/login", urllib.parse.urlencode(form).encode(), timeout=60) as answer:
            if answer.url.endswith("/login"):
                raise RetriableError("the bench could not log in")


def _measure(
    visitor: _Visitor, process: psutil.Process, pages: dict[str, str], rounds: int, say: Say
) -> dict[str, dict[str, float]]:
    taken: dict[str, list[float]] = {name: [] for name in pages}
    cpu_s = dict.fromkeys(pages, 0.0)
    size = {name: len(visitor.get(path)) for name, path in pages.items()}  # once, to warm up
    each = -(-rounds // PASSES)
    for number in range(PASSES):
        say(f"pass {number + 1} of {PASSES} ...")
        for name, path in pages.items():
            before = _cpu_s(process)
            for _ in range(each):
                start = time.perf_counter()
                visitor.get(path)
                taken[name].append(1000.0 * (time.perf_counter() - start))
            cpu_s[name] += _cpu_s(process) - before
    return {
        name: {
            "p50_ms": round(statistics.median(values), 1),
            "p95_ms": round(percentile(values, 0.95), 1),
            "max_ms": round(max(values), 1),
            "cpu_ms": round(1000.0 * cpu_s[name] / len(values), 1),
            "kilobytes": round(size[name] / 1000.0, 1),
        }
        for name, values in taken.items()
    }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def _dashboard(database_url: str, folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`osteon dashboard` over that registry, with the shipped configuration; its address and its process."""
    port = free_port()
    environment = {**os.environ, "OSTEON_DATABASE_URL": database_url, "OSTEON__DASHBOARD__PORT": str(port)}
    command = [sys.executable, "-m", "node.cli.main", "dashboard", "--config", str(REPOSITORY_CONFIG)]
    log = folder / "dashboard.log"
    with log.open("wb") as lines:
        process = subprocess.Popen(
            [*command, "--data", str(folder)], stdout=lines, stderr=subprocess.STDOUT, env=environment
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RetriableError(f"the dashboard did not start: {log.read_text(errors='replace')[-800:]}")
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/static/osteon.svg", timeout=5).close()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True
