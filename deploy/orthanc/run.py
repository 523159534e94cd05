"""An Orthanc of one's own: started in a folder, waited for, stopped by its own process id.

    start_orthanc(folder, dicom_port, http_port) -> OrthancProcess     (a context manager)

The configuration is `orthanc.json` beside this file with ports, storage folder and modalities filled in. Its two ports
are open on every interface: Orthanc has no setting for the DICOM port, and 1.10.1 of Debian takes no notice of
`HttpBindAddresses`. Over HTTP it refuses other hosts (`RemoteAccessAllowed`); over DICOM it answers C-ECHO and C-STORE
of anybody, with `only_known` of the modalities and their hosts alone. Used by the tests, `osteon bench turnaround` and
the demo; an archive for a hospital is its own business.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from node.loopback import free_port

CONFIGURATION = Path(__file__).with_name("orthanc.json")
EXECUTABLES = ("Orthanc", "/usr/sbin/Orthanc", "/usr/local/sbin/Orthanc")
DICOMWEB_PLUGIN = "libOrthancDicomWeb.so"

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.1


class OrthancError(RuntimeError):
    """Orthanc could not be found or did not come up; the text holds the end of its log."""


@dataclass
class OrthancProcess:
    """A running Orthanc; `stop` ends this very process and no other."""

    process: subprocess.Popen[bytes]
    folder: Path
    dicom_port: int
    http_port: int
    aet: str
    _files: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def url(self) -> str:
        """Root of its REST interface, without a slash at the end."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        """Root of its DICOMweb service."""
        return f"{self.url}/dicom-web"

    def get(self, path: str) -> object:
        """JSON answer of a REST path, e.g. `/studies`."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=READY_TIMEOUT_S) as answer:
            return json.load(answer)

    def post(self, path: str, body: bytes) -> object:
        """POST raw bytes, e.g. a DICOM file to `/instances`."""
        request = urllib.request.Request(f"{self.url}{path}", data=body, method="POST")
        with urllib.request.urlopen(request, timeout=READY_TIMEOUT_S) as answer:
            return json.load(answer)

    def log(self) -> str:
        """What it has written so far."""
        return (self.folder / "orthanc.log").read_text(errors="replace")

    def stop(self) -> None:
        """End it: politely, then by force."""
        try:
            if self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait(STOP_TIMEOUT_S)
        finally:
            self._files.close()

    def __enter__(self) -> OrthancProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def find_orthanc() -> str | None:
    """Path of the Orthanc program, or None."""
    return next((found for name in EXECUTABLES if (found := shutil.which(name))), None)


def find_plugins(folders: Sequence[str] | None = None) -> list[str]:
    """Folders that hold the DICOMweb plugin."""
    configured = folders if folders is not None else json.loads(CONFIGURATION.read_text())["Plugins"]
    return [folder for folder in configured if (Path(folder) / DICOMWEB_PLUGIN).exists()]


def configuration(
    folder: Path,
    dicom_port: int,
    http_port: int,
    modalities: Mapping[str, Sequence[object]],
    aet: str,
    *,
    only_known: bool = False,
) -> dict[str, object]:
    """The configuration of an Orthanc in `folder`; `modalities` maps a name to [AET, host, port].

    With `only_known` C-ECHO and C-STORE are answered to those modalities alone, by AE title and host.
    """
    values: dict[str, object] = json.loads(CONFIGURATION.read_text())
    storage = str(folder / "storage")
    values.update(
        StorageDirectory=storage,
        IndexDirectory=storage,
        HttpPort=http_port,
        DicomPort=dicom_port,
        DicomAet=aet,
        DicomModalities={name: list(modality) for name, modality in modalities.items()},
        # Only this plugin: others in the same folder (worklists, served folders) want settings of their own.
        Plugins=[str(Path(plugins) / DICOMWEB_PLUGIN) for plugins in find_plugins()],
        DicomAlwaysAllowEcho=not only_known,
        DicomAlwaysAllowStore=not only_known,
        DicomCheckModalityHost=only_known,
    )
    return values


def start_orthanc(
    folder: Path,
    dicom_port: int = 0,
    http_port: int = 0,
    modalities: Mapping[str, Sequence[object]] | None = None,
    *,
    aet: str = "ORTHANC",
    only_known: bool = False,
    ready_timeout_s: float = READY_TIMEOUT_S,
) -> OrthancProcess:
    """Start Orthanc with its files in `folder` and wait until it answers.

    Parameters
    ----------
    dicom_port, http_port
        0 for a free one.
    modalities
        Whom it may send to: name -> [AET, host, port].
    only_known
        Take objects from those alone, judged by AE title and host.

    Raises
    ------
    OrthancError
        If Orthanc is not installed, exits, or does not answer within `ready_timeout_s`.
    """
    program = find_orthanc()
    if program is None:
        raise OrthancError("Orthanc is not installed (Debian: apt install orthanc orthanc-dicomweb)")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = dicom_port or free_port(), http_port or free_port()
    settings = folder / "orthanc.json"
    values = configuration(folder, dicom_port, http_port, modalities or {}, aet, only_known=only_known)
    settings.write_text(json.dumps(values, indent=2))
    with ExitStack() as files:
        log = files.enter_context((folder / "orthanc.log").open("wb"))
        # Without TCP_NODELAY every DICOM message waits for a delayed acknowledgement (40 ms).
        process = subprocess.Popen(
            [program, str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**os.environ, "TCP_NODELAY": "1"},
        )
        running = OrthancProcess(process, folder, dicom_port, http_port, aet, files.pop_all())
    _wait_until_ready(running, ready_timeout_s)
    return running


def _wait_until_ready(running: OrthancProcess, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        if running.process.poll() is not None:
            running.stop()
            raise OrthancError(f"Orthanc ended with code {running.process.returncode}:\n{running.log()[-2000:]}")
        try:
            running.get("/system")
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if time.monotonic() > deadline:
                running.stop()
                raise OrthancError(
                    f"Orthanc did not answer on port {running.http_port} within {timeout_s:.0f} s:\n"
                    f"{running.log()[-2000:]}"
                ) from None
        time.sleep(POLL_S)
