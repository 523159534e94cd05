"""`osteon bench receive`: images per second over C-STORE, ours beside DCMTK's storescp, Orthanc and bare pynetdicom.

    synthetic CT slices --parallel storescu--> receiver A, receiver B, ...   (one round; several rounds, order rotated)

Every receiver gets the same files from the same senders, starts anew in an empty folder each time, and has TCP_NODELAY
set on both sides: without it DCMTK's tools wait 40 ms per message. Medians over the rounds are reported, with the
slowest and fastest, and the receiver's own CPU time, which depends less on what else the machine does. Peers that are
not installed are named. All files lie in a temporary folder that is removed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from node.bench.receivers import AE_TITLE, MAX_PDU_BYTES, Receiver, find_dcmtk, find_receivers, running
from node.errors import PermanentError, RetriableError

SCHEMA = "osteon.bench.receive/1"
ROWS = 512
COLUMNS = 512
SEND_TIMEOUT_S = 300.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """One round of one receiver."""

    seconds: float
    cpu_s: float


def bench_receive(
    images: int = 200,
    parallel: int = 4,
    rounds: int = 3,
    peers: Sequence[str] | None = None,
    folder: Path | None = None,
    say: Say | None = None,
) -> dict[str, Any]:
    """Compare receivers.

    Parameters
    ----------
    images
        Slices per round, 512 x 512 of 16 bit each (0.5 MB).
    parallel
        Senders at once; each sends its share on one association.
    rounds
        How often each receiver is measured.
    peers
        Names of receivers to measure (as in the result); None is all that are installed.
    folder
        Where temporary files go; None is the system's. On a memory file system fsync costs nothing: the result says
        which kind it is.
    say
        Called with a line of progress.

    Returns
    -------
    dict
        `schema`, `machine`, `filesystem`, `sender`, `images`, `image_bytes`, `parallel`, `rounds`; `rows`, each with
        `receiver`, `version`, `fsync`, `images_per_s` and `mb_per_s` (median, min, max) and `cpu_ms_per_image`;
        `missing`, peer -> why.

    Raises
    ------
    PermanentError
        If DCMTK's storescu, the sender, is not installed, or a receiver does not take the images.
    """
    sender = find_dcmtk("storescu")
    if sender is None:
        raise PermanentError("the sender, DCMTK's storescu, is not installed (Debian: dcmtk)")
    receivers, missing = find_receivers()
    receivers = [r for r in receivers if peers is None or r.name in peers]
    say = say or (lambda line: None)
    with tempfile.TemporaryDirectory(prefix="osteon-bench-", dir=folder) as temporary:
        root = Path(temporary)
        image_bytes = make_slices(root / "slices", images, parallel)
        samples: dict[str, list[Sample]] = {r.name: [] for r in receivers}
        for number in range(rounds):
            turn = number % max(len(receivers), 1)
            for receiver in receivers[turn:] + receivers[:turn]:
                sample = _measure(receiver, sender[0], root, images, parallel)
                samples[receiver.name].append(sample)
                say(f"round {number + 1}/{rounds}: {receiver.name}: {images / sample.seconds:.0f} images/s")
        return {
            "schema": SCHEMA,
            "machine": {"cpus": os.cpu_count(), "load_average": [round(load, 2) for load in os.getloadavg()]},
            "filesystem": filesystem_of(root),
            "sender": f"{parallel} x DCMTK storescu {sender[1]}",
            "images": images,
            "image_bytes": image_bytes,
            "parallel": parallel,
            "rounds": rounds,
            "rows": [_row(r, samples[r.name], images, image_bytes) for r in receivers],
            "missing": missing,
        }


def as_text(result: dict[str, Any]) -> str:
    """The result as a table for a person."""
    lines = [
        f"{result['images']} CT slices of {result['image_bytes'] / 1e6:.2f} MB, {result['sender']}, "
        f"{result['rounds']} rounds, {result['machine']['cpus']} CPUs, {result['filesystem']}",
        f"{'receiver':<30}{'fsync':<7}{'images/s':>10}{'(min-max)':>16}{'MB/s':>8}{'CPU ms/image':>14}",
    ]
    for row in result["rows"]:
        speed = row["images_per_s"]
        spread = f"({speed['min']:.0f}-{speed['max']:.0f})"
        lines.append(
            f"{row['receiver'] + ' ' + row['version']:<30}{'yes' if row['fsync'] else 'no':<7}{speed['median']:>10.0f}"
            f"{spread:>16}{row['mb_per_s']['median']:>8.0f}"
            f"{row['cpu_ms_per_image']:>14.2f}"
        )
    lines += [f"not measured: {name}: {why}" for name, why in result["missing"].items()]
    return "\n".join(lines)


def make_slices(folder: Path, images: int, parallel: int) -> int:
    """Write synthetic CT slices, shared out to `parallel` sub-folders; returns the size of one file in bytes."""
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    pixels = np.random.default_rng(0).integers(0, 4096, (ROWS, COLUMNS), dtype=np.uint16).tobytes()
    study, series = generate_uid(), generate_uid()
    path = folder
    for number in range(images):
        dataset = Dataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, generate_uid()
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
        dataset.Modality, dataset.PatientID, dataset.PatientName = "CT", "BENCH", "Bench^Receive"
        dataset.InstanceNumber = number + 1
        dataset.Rows, dataset.Columns = ROWS, COLUMNS
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.PixelData = pixels
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / str(number % parallel) / f"{number:06d}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
    return path.stat().st_size


def filesystem_of(folder: Path) -> str:
    """Kind of the file system that holds `folder`: tmpfs lies in memory."""
    resolved = folder.resolve()
    holders = [p for p in psutil.disk_partitions(all=True) if resolved.is_relative_to(p.mountpoint)]
    return max(holders, key=lambda p: len(p.mountpoint)).fstype if holders else "unknown"


def _measure(receiver: Receiver, storescu: str, root: Path, images: int, parallel: int) -> Sample:
    with tempfile.TemporaryDirectory(prefix="receiver-", dir=root) as temporary:
        with running(receiver, Path(temporary)) as target:
            before = target.cpu_s()
            began = time.monotonic()
            _send(receiver, storescu, root / "slices", target.port, parallel)
            seconds = time.monotonic() - began
            cpu = target.cpu_s() - before
        kept = sum(1 for path in Path(temporary).rglob("*") if path.is_file() and path.stat().st_size > ROWS * COLUMNS)
    if kept < images:
        raise RetriableError(f"{receiver.name} kept {kept} of {images} images")
    return Sample(seconds, cpu)


def _send(receiver: Receiver, storescu: str, slices: Path, port: int, parallel: int) -> None:
    command = [storescu, "-xe", "+sd", "-aec", AE_TITLE, "-pdu", str(MAX_PDU_BYTES), "127.0.0.1", str(port)]
    environment = {**os.environ, "TCP_NODELAY": "1"}
    senders = [
        subprocess.Popen(
            [*command, str(slices / str(number))],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(parallel)
    ]
    try:
        codes = [sender.wait(SEND_TIMEOUT_S) for sender in senders]
    finally:
        for sender in senders:
            if sender.poll() is None:
                sender.kill()
                sender.wait()
    if any(codes):
        raise RetriableError(f"storescu could not send everything to {receiver.name} (exit codes {codes})")


def _row(receiver: Receiver, samples: Sequence[Sample], images: int, image_bytes: int) -> dict[str, Any]:
    speeds = [images / sample.seconds for sample in samples]
    spread = {"median": statistics.median(speeds), "min": min(speeds), "max": max(speeds)}
    return {
        "receiver": receiver.name,
        "version": receiver.version,
        "fsync": receiver.fsync,
        "images_per_s": {name: round(value, 1) for name, value in spread.items()},
        "mb_per_s": {name: round(value * image_bytes / 1e6, 1) for name, value in spread.items()},
        "cpu_ms_per_image": round(1000 * statistics.median(sample.cpu_s for sample in samples) / images, 3),
    }
