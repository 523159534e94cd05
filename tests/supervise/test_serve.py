"""`osteon serve` whole: scans in over C-STORE, results at an archive, while its parts are killed one after the other.

The pipeline is the tiny one, found as a third party's would be; everything else is the node as it ships. One node
serves the claims in turn, because each start costs seconds; a scan's SeriesDescription says how long it computes. The
shipped networks, DCMTK and Orthanc stand around the node in tests/e2e.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest
from pydicom import dcmwrite

from node.deliver.scu import send_files
from node.loopback import free_port
from node.supervise.ports import answers
from tests.deliver.archive import Archive, running_archive
from tests.fixtures.queue import install_tiny_pipeline, tiny_scan
from tests.fixtures.running_node import REPOSITORY, RunningNode, wait_for, write_configuration

pytestmark = pytest.mark.slow

START_TIMEOUT_S = 90.0
STUDY_TIMEOUT_S = 60.0
RULES = """
rules:
  - name: everything
    pipeline: tiny
    match: {Modality: NM}
"""


class Site:
    """A configured node, started and stopped at will, and the archive it sends to."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self.folder = folder
        self.archive = archive
        self.dicom_port, self.http_port = free_port(), free_port()
        settings = {
            "listen": {"port": self.dicom_port},
            "dashboard": {"port": self.http_port},
            "completion": {"released_quiet_s": 0.3, "quiet_s": 3},
            "spool": {"min_free_bytes": 1_000_000},
            "worker": {"device": "cpu", "lease_s": 30, "retry_backoff_s": 0},
            "delivery": {"first_retry_s": 1, "max_backoff_s": 2, "lease_s": 30},
            "retention": {"pressure_free_bytes": 0},
            "log": {"format": "json"},
        }
        pacs = {"name": "pacs", "host": "127.0.0.1", "port": archive.port, "ae_title": "ARCHIVE", "verify": "find"}
        self.config_dir = write_configuration(folder / "config", settings, [pacs])
        (self.config_dir / "routing.yaml").write_text(RULES)
        self.environment = install_tiny_pipeline(folder / "site")

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "node.cli.main", "serve"),
            *("--config", str(self.config_dir), "--data", str(self.folder / "data")),
        ]

    @contextmanager
    def node(self) -> Iterator[RunningNode]:
        """`osteon serve`, ready; told to end at the end."""
        log_path = self.folder / "node.log"
        with log_path.open("ab") as log:
            began_at = log.tell()
            process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=REPOSITORY, env={**os.environ, **self.environment}
            )
        node = RunningNode(process, self.dicom_port, self.http_port, self.config_dir, self.folder / "data", log_path)
        try:
            wait_for(
                "the ready line",
                lambda: process.poll() is not None or '"event": "ready"' in node.log()[began_at:],
                START_TIMEOUT_S,
            )
            assert process.poll() is None
            yield node
        except AssertionError:
            print(node.log()[-5000:])
            raise
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(timeout=10)

    def send(self, description: str = "") -> str:
        """Send a scan as a scanner would; returns the study's UID."""
        scan = tiny_scan(description)
        path = self.folder / "scan.dcm"
        dcmwrite(path, scan, enforce_file_format=True)
        (outcome,) = send_files([path], "127.0.0.1", self.dicom_port, "OSTEON", "SCANNER")
        assert outcome.ok, outcome.sentence
        return str(scan.StudyInstanceUID)

    def arrived(self, study_uid: str) -> list[str]:
        return [
            kind
            for kind, dataset in zip(self.archive.kinds(), list(self.archive.received), strict=False)
            if dataset.StudyInstanceUID == study_uid
        ]

    def wait_for_results(self, node: RunningNode, study_uid: str) -> None:
        """Wait for the study to be done and its results to be at the archive; each of them once."""
        wait_for(f"results of {study_uid}", lambda: len(self.arrived(study_uid)) >= 3, STUDY_TIMEOUT_S)
        wait_for("the job to be done", lambda: state(node, study_uid) == "done", STUDY_TIMEOUT_S)
        assert sorted(self.arrived(study_uid)) == ["sc", "seg", "sr"]


def state(node: RunningNode, study_uid: str) -> str:
    jobs = node.jobs(study_uid)
    return str(jobs[-1]["state"]) if jobs else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_archive(Archive()) as archive:
        yield Site(tmp_path_factory.mktemp("site"), archive)


@pytest.fixture(scope="module")
def node(site: Site) -> Iterator[RunningNode]:
    with site.node() as running:
        yield running


def kill(node: RunningNode, *words: str) -> None:
    victims = node.children(*words)
    assert victims, f"no process with {words}"
    victims[0].send_signal(signal.SIGKILL)


def test_a_scan_goes_in_and_its_results_come_out_once(site: Site, node: RunningNode) -> None:
    study = site.send()
    site.wait_for_results(node, study)


@pytest.mark.skipif("GLIBC_TUNABLES" in os.environ, reason="this environment has tunables of its own")
def test_workers_alone_keep_tensors_on_huge_pages(node: RunningNode) -> None:
    workers, others = node.children("worker", "infer"), [*node.children("listen"), *node.children("dashboard")]
    assert workers and others
    assert {worker.environ().get("GLIBC_TUNABLES") for worker in workers} == {"glibc.malloc.hugetlb=1"}
    assert not any("GLIBC_TUNABLES" in other.environ() for other in others)


def test_a_worker_killed_in_mid_study_costs_no_study_and_makes_no_twins(site: Site, node: RunningNode) -> None:
    study = site.send("slow 2")
    wait_for("the job to run", lambda: state(node, study) == "running", STUDY_TIMEOUT_S)
    kill(node, "worker", "infer")
    site.wait_for_results(node, study)
    assert node.jobs(study)[-1]["attempts"] == 2
    assert "serve.work_released" in node.log()


def test_redis_killed_in_mid_study_costs_no_study(site: Site, node: RunningNode) -> None:
    running = site.send("slow 2")
    wait_for("the job to run", lambda: state(node, running) == "running", STUDY_TIMEOUT_S)
    waiting = site.send()
    wait_for("the second job", lambda: state(node, waiting) == "queued", STUDY_TIMEOUT_S)
    kill(node, "redis-server")
    for study in (running, waiting):
        site.wait_for_results(node, study)


def test_all_other_parts_killed_at_once_come_back(site: Site, node: RunningNode) -> None:
    others = [("listen",), ("upkeep", "--config"), ("worker", "deliver"), ("dashboard",)]
    before = {words: {child.pid for child in node.children(*words)} for words in others}

    def replaced(words: tuple[str, ...]) -> bool:
        return bool({child.pid for child in node.children(*words)} - before[words])

    for words in others:
        kill(node, *words)
    for words in others:
        wait_for(f"another {words[0]}", partial(replaced, words), STUDY_TIMEOUT_S)
    wait_for("the port", lambda: answers("127.0.0.1", site.dicom_port), STUDY_TIMEOUT_S)
    wait_for("the page", lambda: answers("127.0.0.1", site.http_port), STUDY_TIMEOUT_S)
    site.wait_for_results(node, site.send())


def test_a_second_node_on_the_same_folder_or_port_is_refused_with_a_sentence(site: Site, node: RunningNode) -> None:
    folders = {"same": site.folder / "data", "another": site.folder / "elsewhere"}
    started = {
        name: subprocess.Popen(
            [*site.command()[:-1], str(folder)],
            env={**os.environ, **site.environment},
            cwd=REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, folder in folders.items()
    }
    said = {name: process.communicate(timeout=60)[1] for name, process in started.items()}
    assert {process.returncode for process in started.values()} == {1}
    assert f"another osteon serve (process {node.process.pid})" in said["same"]
    assert f"port {site.dicom_port} on 127.0.0.1 is in use" in said["another"]


def test_after_sigkill_of_the_whole_node_a_restart_finishes_the_study(site: Site, node: RunningNode) -> None:
    study = site.send("slow 2")
    wait_for("the job to run", lambda: state(node, study) == "running", STUDY_TIMEOUT_S)
    children = node.children()
    node.process.send_signal(signal.SIGKILL)
    node.process.wait(timeout=10)
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, [child.cmdline() for child in alive]
    with site.node() as restarted:
        site.wait_for_results(restarted, study)
        restarted.process.send_signal(signal.SIGTERM)
        assert restarted.process.wait(timeout=60) == 0
        assert not answers("127.0.0.1", site.dicom_port)
