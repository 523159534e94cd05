"""The processes of the demo: archive, node, viewer; started, asked, stopped.

What runs is written to `running.json` in the demo's folder, so that a later call can stop exactly those processes.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from deploy.ohif.fetch import OhifUnavailable, fetch_ohif
from deploy.orthanc.run import OrthancError, find_orthanc, start_orthanc
from node.dashboard.security.passwords import hash_password, random_password
from node.registry import accounts, credentials
from node.registry.audit import console_actor
from node.registry.database import Registry
from node.registry.migrate import upgrade
from node.registry.roles import Role

REPOSITORY = Path(__file__).resolve().parents[2]
USUAL_PORTS = {"dicom": 11112, "dashboard": 8080, "archive_dicom": 4242, "archive_http": 8042, "viewer": 3000}
ARCHIVE_AET = "ARCHIVE"
NODE_AET = "OSTEON"
DEMO_USER = "demo"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 40.0

Say = Callable[[str], None]


@dataclass
class Demo:
    """A running demo."""

    folder: Path
    ports: dict[str, int]
    places: dict[str, str] = field(default_factory=dict)
    orthanc_url: str = ""
    token: str = ""

    def log(self, part: str) -> Path:
        """The log of a part: "osteon", "archive", "viewer"."""
        return self.folder / f"{part}.log"

    def fresh_folder(self, name: str) -> Path:
        """An empty folder below the demo's."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def study(self, study_uid: str) -> dict[str, Any] | None:
        """What the node knows of a study; None before it knows any."""
        return _get_json(f"http://127.0.0.1:{self.ports['dashboard']}/api/v1/studies/{study_uid}", self.token)

    def archived(self, study_uid: str) -> Counter[str]:
        """How many instances of each modality the archive has of a study."""
        if not self.orthanc_url:
            return Counter(path.name.split("-")[0] for path in (self.folder / "archive" / study_uid).glob("*.dcm"))
        counts: Counter[str] = Counter()
        for study in self._orthanc("/tools/find", {"Level": "Study", "Query": {"StudyInstanceUID": study_uid}}):
            for series in _get_json(f"{self.orthanc_url}/studies/{study}/series") or []:
                counts[series["MainDicomTags"]["Modality"]] += len(series["Instances"])
        return counts

    def _orthanc(self, path: str, body: dict[str, Any]) -> list[str]:
        request = urllib.request.Request(f"{self.orthanc_url}{path}", json.dumps(body).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return list(json.load(answer))


def start(folder: Path, say: Say) -> Demo:
    """Start archive, node and, where it can be had, the viewer; waits until the node is healthy.

    Raises
    ------
    RuntimeError
        If the node does not come up; the text holds the end of its log.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for left in ("data", "archive", "config"):
        shutil.rmtree(folder / left, ignore_errors=True)
    demo = Demo(folder, _choose_ports(say))
    pids: dict[str, int] = {}
    try:
        _start_archive(demo, pids, say)
        _start_node(demo, pids, say)
        _start_viewer(demo, pids, say)
    finally:
        _remember(folder, pids)
    return demo


def stop(folder: Path) -> bool:
    """Stop what `start` started; True if anything was running."""
    record = folder / "running.json"
    if not record.exists():
        return False
    found = []
    for part in json.loads(record.read_text()):
        try:
            process = psutil.Process(part["pid"])
            # A process number may belong to somebody else by now; the start time tells.
            if abs(process.create_time() - part["created"]) < 1.0:
                process.terminate()
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    for process in psutil.wait_procs(found, timeout=STOP_TIMEOUT_S)[1]:
        process.kill()
    record.unlink()
    return bool(found)


def _remember(folder: Path, pids: dict[str, int]) -> None:
    rows = []
    for part, pid in pids.items():
        try:
            rows.append({"part": part, "pid": pid, "created": psutil.Process(pid).create_time()})
        except psutil.NoSuchProcess:
            continue
    (folder / "running.json").write_text(json.dumps(rows, indent=2))


def _choose_ports(say: Say) -> dict[str, int]:
    """The usual port where it is free, another one where it is not."""
    ports = {}
    for name, usual in USUAL_PORTS.items():
        for port in (usual, 0):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    say(f"port {usual} is taken; the {name.replace('_', ' ')} gets another one")
                    continue
                ports[name] = int(probe.getsockname()[1])
                break
    return ports


def _start_archive(demo: Demo, pids: dict[str, int], say: Say) -> None:
    dicom, http = demo.ports["archive_dicom"], demo.ports["archive_http"]
    if find_orthanc() is not None:
        say("starting the archive (Orthanc) ...")
        try:
            # Its port is open to the network: it takes nothing but what the node beside it sends.
            node = {"osteon": [NODE_AET, "127.0.0.1", demo.ports["dicom"]]}
            running = start_orthanc(demo.folder / "archive", dicom, http, node, aet=ARCHIVE_AET, only_known=True)
        except OrthancError as error:
            say(f"Orthanc did not start ({str(error).splitlines()[0]}); using our own receiver")
        else:
            pids["archive"] = running.process.pid
            demo.orthanc_url = running.url
            demo.places["archive (Orthanc)"] = running.url
            return
    else:
        say("Orthanc is not installed; starting our own receiver as the archive ...")
    command = ["deploy.demo.archive", "--folder", str(demo.folder / "archive"), "--port", str(dicom)]
    pids["archive"] = _spawn(demo, "archive", [*command, "--aet", ARCHIVE_AET])
    demo.places["archive (files)"] = str(demo.folder / "archive")


def _start_node(demo: Demo, pids: dict[str, int], say: Say) -> None:
    say("starting the node ...")
    config = demo.folder / "config"
    shutil.copytree(REPOSITORY / "config", config)
    settings = {
        "listen": {"ae_title": NODE_AET, "port": demo.ports["dicom"]},
        "dashboard": {"port": demo.ports["dashboard"]},
    }
    (config / "osteon.yaml").write_text(yaml.safe_dump(settings))
    archive = {"name": "archive", "host": "127.0.0.1", "port": demo.ports["archive_dicom"], "ae_title": ARCHIVE_AET}
    (config / "destinations.yaml").write_text(yaml.safe_dump({"destinations": [archive]}))
    address = f"http://127.0.0.1:{demo.ports['dashboard']}"
    demo.places["dashboard"] = address
    _make_accounts(demo, demo.folder / "data")
    command = ["node.cli.main", "serve", "--config", str(config), "--data", str(demo.folder / "data")]
    pids["osteon"] = _spawn(demo, "osteon", command)
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (_get_json(f"{address}/healthz") or {}).get("ok"):
        if not psutil.pid_exists(pids["osteon"]) or time.monotonic() > deadline:
            raise RuntimeError("the node did not come up:\n" + demo.log("osteon").read_text()[-3000:])
        time.sleep(0.2)
    demo.places["send scans to"] = f"{NODE_AET} at 127.0.0.1:{demo.ports['dicom']} (C-STORE)"
    demo.places["node's files and log"] = str(demo.folder)


def _start_viewer(demo: Demo, pids: dict[str, int], say: Say) -> None:
    if not demo.orthanc_url:
        return
    try:
        viewer = fetch_ohif(REPOSITORY / ".peers")
    except OhifUnavailable as error:
        say(f"no viewer: {error}")
        return
    port = demo.ports["viewer"]
    command = ["deploy.ohif.serve", "--ohif", str(viewer), "--orthanc", demo.orthanc_url, "--port", str(port)]
    pids["viewer"] = _spawn(demo, "viewer", command)
    demo.places["viewer (OHIF)"] = f"http://127.0.0.1:{port}"


def _spawn(demo: Demo, part: str, module: list[str]) -> int:
    """Start `python -m MODULE ...` in a session of its own, so that it outlives this command."""
    with demo.log(part).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    return process.pid


def _make_accounts(demo: Demo, data_dir: Path) -> None:
    """A token for the demo itself, and an account for the person who looks, with a password of its own each time."""
    now, who, password = datetime.now(UTC), console_actor(), random_password()
    registry = Registry(f"sqlite:///{data_dir / 'registry.sqlite'}")
    try:
        upgrade(registry)
        with registry.transaction() as session:
            accounts.add_user(session, who, DEMO_USER, Role.ADMIN, hash_password(password), now)
            demo.token = credentials.add_token(session, who, "demo", Role.VIEWER, None, now)
    finally:
        registry.dispose()
    demo.places["log in there as"] = f"{DEMO_USER}, password {password}"


def _get_json(url: str, token: str = "") -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
