"""What a file to be sent is: SOP class, SOP instance, transfer syntax, and where its data set begins.

Part 10 files, files without preamble and bare data sets are taken; nothing is decoded, so that a file which no library
can read can still be sent as it is. Folders are searched; what is no DICOM in them is passed over, and DICOMDIR files
too, but a file that was named itself is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from node.errors import PermanentError
from node.storage.part10 import HEADER_MAX_BYTES, read_header
from node.storage.peek import HEAD_BYTES, peek_uids
from node.storage.protocol import is_valid_uid
from node.storage.walk import walk

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"

MAX_CONTEXTS = 128
"""Presentation context IDs are the odd numbers from 1 to 255 (PS3.8 section 9.3.2.2)."""


@dataclass(frozen=True)
class OutgoingFile:
    """A file that can be sent; the data set begins at `offset`."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    offset: int


def describe_file(path: Path) -> OutgoingFile:
    """Find out what a file is.

    The data set's own UIDs count more than the header's, since receivers compare them with the request's; a data set
    without them is sent under the header's.

    Raises
    ------
    PermanentError
        If it cannot be read, is not DICOM, is a DICOMDIR, or names no SOP class or instance.
    """
    try:
        with path.open("rb") as file:
            start = file.read(HEADER_MAX_BYTES)
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from error
    header = read_header(start)
    if header is None:
        raise PermanentError(f"{path} is not a DICOM file")
    if not header.transfer_syntax_uid:
        raise PermanentError(f"{path} does not say its transfer syntax, and it cannot be guessed")
    head = start[header.data_set_offset : header.data_set_offset + HEAD_BYTES]
    sop_class, sop_instance = peek_uids(head, header.transfer_syntax_uid)
    sop_class = sop_class if is_valid_uid(sop_class) else header.sop_class_uid
    sop_instance = sop_instance if is_valid_uid(sop_instance) else header.sop_instance_uid
    if sop_class == MEDIA_DIRECTORY:
        raise PermanentError(f"{path} is a DICOMDIR, which is not sent")
    for name, uid in (("SOP class", sop_class), ("SOP instance", sop_instance)):
        if not is_valid_uid(uid):
            raise PermanentError(f"{path} has no valid {name} UID")
    return OutgoingFile(path, sop_class, sop_instance, header.transfer_syntax_uid, header.data_set_offset)


def find_files(paths: Iterable[Path]) -> Iterator[tuple[Path, OutgoingFile | PermanentError]]:
    """Every file below `paths`, described; in the order given, folders by name.

    A file in a folder that is not DICOM is passed over, one that was named itself comes with its error.
    """
    for file in walk(paths):
        try:
            yield file.path, describe_file(file.path)
        except PermanentError as error:
            if file.named:
                yield file.path, error


def batches(files: Iterable[OutgoingFile], limit: int = MAX_CONTEXTS) -> Iterator[list[OutgoingFile]]:
    """Split files, in their order, so that each batch needs at most `limit` pairs of SOP class and transfer syntax."""
    batch: list[OutgoingFile] = []
    pairs: set[tuple[str, str]] = set()
    for file in files:
        pair = (file.sop_class_uid, file.transfer_syntax_uid)
        if batch and pair not in pairs and len(pairs) == limit:
            yield batch
            batch, pairs = [], set()
        batch.append(file)
        pairs.add(pair)
    if batch:
        yield batch
