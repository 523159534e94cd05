"""The receivers that `osteon bench receive` compares: ours and its peers, each as a process with a folder of its own.

Run as a module this file is two of them: `osteon` (the real listeners) and `pynetdicom` (the library by itself: one
process in chunked mode with the same fsyncs), so that what our own reading of P-DATA gains stands beside its absence.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from node.errors import RetriableError
from node.loopback import free_port

AE_TITLE = "OSTEON"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.05
MAX_PDU_BYTES = 131072


@dataclass(frozen=True)
class Receiver:
    """One receiver: its name, whether it syncs files to the disk before it answers, and how to start it."""

    name: str
    version: str
    fsync: bool
    command: tuple[str, ...]

    def arguments(self, port: int, folder: Path) -> list[str]:
        """The command line for a port and a folder."""
        return [part.format(port=port, folder=folder) for part in self.command]


@dataclass(frozen=True)
class RunningReceiver:
    """A receiver that takes associations on `port` of loopback."""

    port: int
    process: psutil.Process

    def cpu_s(self) -> float:
        """CPU seconds used so far by the process and its children, ended ones included."""
        total = 0.0
        for process in [self.process, *self.process.children(recursive=True)]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
            if process == self.process:
                total += times.children_user + times.children_system
        return total


def find_dcmtk(program: str) -> tuple[str, str] | None:
    """Path and version of a DCMTK program; pynetdicom's programs of the same names are passed over."""
    for folder in dict.fromkeys([*os.get_exec_path(), "/usr/bin", "/usr/local/bin"]):
        path = shutil.which(program, path=folder)
        if path is None:
            continue
        said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=30).stdout
        if said.startswith("$dcmtk"):
            return path, said.split()[2].lstrip("v")
    return None


def find_receivers() -> tuple[list[Receiver], dict[str, str]]:
    """The receivers that are installed here, and for each that is not its name and how to get it."""
    import pynetdicom

    from node import __version__

    module = (sys.executable, "-m", "node.bench.receivers")
    found = [
        Receiver("osteon", __version__, True, (*module, "osteon", "{port}", "{folder}", "fsync")),
        Receiver("osteon, no fsync", __version__, False, (*module, "osteon", "{port}", "{folder}", "none")),
        Receiver("pynetdicom, chunked", pynetdicom.__version__, True, (*module, "pynetdicom", "{port}", "{folder}")),
    ]
    missing = {}
    storescp = find_dcmtk("storescp")
    if storescp is not None:
        command = (storescp[0], "--fork", "-aet", AE_TITLE, "-pdu", str(MAX_PDU_BYTES), "-od", "{folder}", "{port}")
        found.append(Receiver("storescp --fork", storescp[1], False, command))
    else:
        missing["storescp --fork"] = "DCMTK is not installed (Debian: dcmtk)"
    orthanc = shutil.which("Orthanc", path=os.pathsep.join([*os.get_exec_path(), "/usr/sbin"]))
    if orthanc is not None:
        said = subprocess.run([orthanc, "--version"], capture_output=True, text=True, timeout=30).stdout
        version = said.split()[1] if len(said.split()) > 1 else "unknown"
        found.append(Receiver("Orthanc", version, True, (orthanc, "{folder}/orthanc.json")))
    else:
        missing["Orthanc"] = "Orthanc is not installed (Debian: orthanc)"
    return found, missing


@contextmanager
def running(receiver: Receiver, folder: Path) -> Iterator[RunningReceiver]:
    """Start a receiver in `folder` and stop it afterwards.

    Raises
    ------
    RetriableError
        If it does not take connections within `START_TIMEOUT_S`.
    """
    port = free_port()
    _write_orthanc_configuration(folder, port)
    environment = {**os.environ, "TCP_NODELAY": "1"}
    with (folder / "output.log").open("wb") as output:
        process = subprocess.Popen(
            receiver.arguments(port, folder), cwd=folder, env=environment, stdout=output, stderr=output
        )
        try:
            _wait_for(receiver, process, port)
            yield RunningReceiver(port, psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(receiver: Receiver, process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(POLL_S)
    raise RetriableError(f"{receiver.name} does not take connections (exit code {process.poll()})")


def _write_orthanc_configuration(folder: Path, port: int) -> None:
    values = {
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "HttpServerEnabled": False,
        "DicomAet": AE_TITLE,
        "DicomPort": port,
        "DicomAlwaysAllowStore": True,
        "DicomCheckCalledAet": False,
        "SyncStorageArea": True,
    }
    (folder / "orthanc.json").write_text(json.dumps(values))


def _serve_osteon(port: int, folder: Path, fsync: bool) -> None:
    from node.receive import run_listeners
    from node.settings import Configuration, Settings

    settings = Settings.model_validate(
        {
            "listen": {"port": port, "ae_title": AE_TITLE, "max_pdu_bytes": MAX_PDU_BYTES},
            "spool": {"fsync": fsync, "min_free_bytes": 0},
        }
    )
    _quiet_logs()
    run_listeners(Configuration(settings, (), folder, folder))


def _serve_pynetdicom(port: int, folder: Path) -> None:
    """A storage SCP as pynetdicom's documentation would have it: chunked mode, moved and fsynced in the handler."""
    import tempfile

    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt

    from node.storage.local import fsync_file, fsync_folder

    partial, inbox = folder / "partial", folder / "inbox"
    partial.mkdir()
    inbox.mkdir()
    tempfile.tempdir = str(partial)
    _config.STORE_RECV_CHUNKED_DATASET = True

    def store(event: Any) -> int:
        source = Path(event.dataset_path)
        fsync_file(source)
        source.rename(inbox / f"{event.request.AffectedSOPInstanceUID}.dcm")
        fsync_folder(inbox)
        return 0x0000

    ae = AE(ae_title=AE_TITLE)
    ae.maximum_pdu_size = MAX_PDU_BYTES
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(context.abstract_syntax or "", ALL_TRANSFER_SYNTAXES)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    assert server is not None
    server.shutdown()


def _quiet_logs() -> None:
    """As in production: one line per association, not one per instance."""
    from node.logs import configure_logging
    from node.settings.model import LogSettings

    configure_logging(LogSettings(), "listen")


if __name__ == "__main__":
    kind, number, where = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    if kind == "osteon":
        _serve_osteon(number, where, sys.argv[4] == "fsync")
    else:
        _serve_pynetdicom(number, where)
