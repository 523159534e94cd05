"""A small archive for the demo where Orthanc is not at hand: a C-STORE receiver that files what it gets.

    python -m deploy.demo.archive --folder DIR --port N [--aet NAME]

Objects land under DIR/<Study UID>/<Modality>-<SOP Instance UID>.dcm. It answers C-ECHO and C-STORE only, and it is a
stand-in for a PACS in a demonstration, not an archive: no query, no retention.
"""

from __future__ import annotations

import argparse
import signal
import threading
from pathlib import Path

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.storage import is_valid_uid

SUCCESS = 0x0000
CANNOT_UNDERSTAND = 0xC000


def _store(event: Event, folder: Path) -> int:
    dataset = event.dataset
    dataset.file_meta = event.file_meta
    study, instance = str(dataset.get("StudyInstanceUID", "")), str(dataset.get("SOPInstanceUID", ""))
    if not (is_valid_uid(study) and is_valid_uid(instance)):
        return CANNOT_UNDERSTAND
    modality = "".join(c for c in str(dataset.get("Modality", "")) if c.isalnum()) or "OT"
    target = folder / study / f"{modality}-{instance}.dcm"
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    dataset.save_as(partial, enforce_file_format=True)
    partial.replace(target)
    return SUCCESS


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--aet", default="ARCHIVE")
    arguments = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    ae = AE(ae_title=arguments.aet)
    ae.add_supported_context(Verification)
    ae.supported_contexts = [*ae.supported_contexts, *AllStoragePresentationContexts]
    server = ae.start_server(
        ("127.0.0.1", arguments.port), block=False, evt_handlers=[(evt.EVT_C_STORE, _store, [arguments.folder])]
    )
    assert server is not None
    stop.wait()
    server.shutdown()


if __name__ == "__main__":
    main()
