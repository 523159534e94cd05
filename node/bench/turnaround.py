"""`osteon bench turnaround`: from a study's last byte to its SEG and SR stored in Orthanc.

    simulated scan --C-STORE--> osteon serve (its own processes, temporary folder) --C-STORE--> Orthanc

The whole time is measured from outside: it starts when the last C-STORE was acknowledged and ends when Orthanc lists
both objects. The node's own records then say how much of it was inference (the job's time in the pipeline); the rest
is what the node itself costs: waiting for the series to be complete, queueing, encoding, delivering. The quiet period
after which a released series counts as complete is part of it, and is printed, because it is a choice and not work.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import yaml

from node.bench.timing import as_text, machine, spread
from node.deliver.scu import send_files
from node.errors import PermanentError, RetriableError
from node.loopback import free_port
from node.registry import queries
from node.registry.database import Registry
from node.settings.load import REPOSITORY_CONFIG

SCHEMA = "osteon.bench.turnaround/1"
START_TIMEOUT_S = 120.0
STUDY_TIMEOUT_S = 300.0
POLL_S = 0.02
ORTHANC_AET = "ORTHANC"

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Running:
    dicom_port: int
    data_dir: Path
    orthanc_url: str


def bench_turnaround(
    studies: int = 5, seed: int = 1, released_quiet_s: float = 5.0, say: Say | None = None
) -> dict[str, Any]:
    """Send studies one after the other and time each until SEG and SR are in Orthanc.

    Parameters
    ----------
    released_quiet_s
        The node's `completion.released_quiet_s`; the default is the node's own.

    Raises
    ------
    PermanentError
        If Orthanc is not installed.
    RetriableError
        If a study does not come back in time.
    """
    from pipelines.phantoms import generate

    say = say or (lambda _text: None)
    with tempfile.TemporaryDirectory(prefix="osteon-bench-") as name:
        folder = Path(name)
        say(f"simulating {studies} studies ...")
        # One more than is timed: the first pays for loading the networks.
        scans = generate(studies + 1, seed, folder / "studies", lambda _fraction, _text: None)
        with _node_and_orthanc(folder, released_quiet_s) as running:
            timed = []
            for number, scan in enumerate(scans):
                taken = _one(running, scan)
                say(f"study {number}: {taken['whole']:.2f} s" + (" (warm-up)" if number == 0 else ""))
                if number > 0:
                    timed.append(taken)
    parts = {key: [one[key] for one in timed] for key in timed[0]}
    return {
        "schema": SCHEMA,
        "studies": studies,
        "released_quiet_s": released_quiet_s,
        "machine": machine(),
        "rows": {
            "last byte to stored in Orthanc, with inference": spread(parts["whole"]),
            "the same without inference": spread(parts["without inference"]),
        },
        "stages_s": {key: round(statistics.median(values), 3) for key, values in parts.items()},
    }


def text(result: dict[str, Any]) -> str:
    """The result for a terminal."""
    stages = ", ".join(f"{name} {value:.2f} s" for name, value in result["stages_s"].items())
    quiet = f"includes the quiet period of {result['released_quiet_s']:g} s (completion.released_quiet_s)"
    return as_text(f"{result['studies']} whole-body studies, one at a time", result["rows"], [stages, quiet])


def _one(running: _Running, scan: Path) -> dict[str, float]:
    files = sorted(scan.rglob("*.dcm")) if scan.is_dir() else [scan]
    study_uid = str(pydicom.dcmread(files[0], stop_before_pixels=True).StudyInstanceUID)
    outcomes = send_files(files, "127.0.0.1", running.dicom_port, "OSTEON", "BENCH")
    sent = time.monotonic()
    for outcome in outcomes:
        if not outcome.ok:
            raise RetriableError(outcome.sentence)
    while not {"SEG", "SR"} <= _stored(running, study_uid):
        if time.monotonic() - sent > STUDY_TIMEOUT_S:
            raise RetriableError(f"the study did not come back within {STUDY_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)
    whole = time.monotonic() - sent
    inference = _inference_s(running.data_dir, study_uid)
    return {"whole": whole, "inference": inference, "without inference": whole - inference}


def _inference_s(data_dir: Path, study_uid: str) -> float:
    """What the node's registry says of the time in the networks."""
    registry = Registry(f"sqlite:///{data_dir / 'registry.sqlite'}")
    try:
        with registry.reading() as session:
            study = queries.study_view(session, study_uid)
    finally:
        registry.dispose()
    assert study is not None
    assert study.jobs[0].summary is not None
    return float(sum(study.jobs[0].summary["details"]["seconds"].values()))


def _stored(running: _Running, study_uid: str) -> set[str]:
    query = json.dumps({"Level": "Series", "Expand": True, "Query": {"StudyInstanceUID": study_uid}}).encode()
    request = urllib.request.Request(f"{running.orthanc_url}/tools/find", query, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return {series["MainDicomTags"]["Modality"] for series in json.load(answer)}


@contextmanager
def _node_and_orthanc(folder: Path, released_quiet_s: float) -> Iterator[_Running]:
    from deploy.orthanc.run import OrthancError, start_orthanc

    try:
        orthanc = start_orthanc(folder / "orthanc", aet=ORTHANC_AET)
    except OrthancError as error:
        raise PermanentError(f"the bench needs Orthanc: {error}") from error
    with orthanc:
        dicom_port, http_port = free_port(), free_port()
        config = folder / "config"
        shutil.copytree(REPOSITORY_CONFIG, config)
        settings = {
            "listen": {"port": dicom_port},
            "dashboard": {"port": http_port},
            "completion": {"released_quiet_s": released_quiet_s},
            "spool": {"min_free_bytes": 0},
        }
        (config / "osteon.yaml").write_text(yaml.safe_dump(settings))
        destination = {"name": "orthanc", "host": "127.0.0.1", "port": orthanc.dicom_port, "ae_title": ORTHANC_AET}
        (config / "destinations.yaml").write_text(yaml.safe_dump({"destinations": [destination]}))
        with (folder / "node.log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "node.cli.main", "serve"),
                    *("--config", str(config), "--data", str(folder / "data")),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TCP_NODELAY": "1"},
            )
        try:
            _wait_until_healthy(process, http_port, folder / "node.log")
            yield _Running(dicom_port, folder / "data", orthanc.url)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_healthy(process: subprocess.Popen[bytes], http_port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            if _get(f"http://127.0.0.1:{http_port}/healthz")["ok"]:
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass  # not listening yet, or not healthy yet: asked again until the time is up
        if process.poll() is not None or time.monotonic() > deadline:
            raise RetriableError(f"the node did not come up:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.1)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)
