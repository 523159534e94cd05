"""What one association stores: a partial file grows, is made durable, moves into the inbox; then it is acknowledged.

    begin -> write, write, ... -> commit    partial/<token>~<number>.part -> inbox/<SOP UID>~<token>~<number>.dcm
                              \\-> discard   nothing is left

`commit` returns only when the bytes, the name in the inbox and the association's record are on the disk;
everything that prevents it is a `Refused` with the status to answer. After a crash the folder alone tells what was
acknowledged. One object serves one association and one thread at a time; it knows nothing of sockets.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from node.receive.command import StoreRequest
from node.receive.statuses import (
    CANNOT_UNDERSTAND,
    INVALID_INSTANCE,
    MISMATCH,
    OUT_OF_RESOURCES,
    SOP_CLASS_NOT_SUPPORTED,
    Refused,
    refusal_for,
)
from node.storage.local import SpoolFolders, fsync_folder
from node.storage.part10 import file_header
from node.storage.peek import HEAD_BYTES, peek_uids
from node.storage.protocol import is_valid_uid
from node.storage.spool import AssociationEnd, AssociationRecord, instance_name, mark_ended, write_association

FREE_SPACE_INTERVAL_BYTES = 64 << 20
"""Free disk is looked at when an instance begins and again after so many bytes, so that no single one can fill it."""

PARTIAL_SUFFIX = ".part"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class SpoolRules:
    """What `spool` in osteon.yaml says, and how to ask for free disk (replaced in tests)."""

    min_free_bytes: int
    fsync: bool
    free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free


class Reception:
    """The instances that arrive on one association.

    Parameters
    ----------
    spool, rules
        Where to, and under which conditions.
    record
        Who opened the association; written durably before the first acknowledgement, and not at all if nothing is
        stored.
    """

    def __init__(self, spool: SpoolFolders, rules: SpoolRules, record: AssociationRecord) -> None:
        self.record = record
        self.stored = 0
        self.refused = 0
        self.bytes = 0
        self._spool = spool
        self._rules = rules
        self._number = 0
        self._recorded = False

    def begin(self, request: StoreRequest, abstract_syntax: str, transfer_syntax: str) -> IncomingInstance:
        """Open the partial file of the instance that the request announces.

        Raises
        ------
        Refused
            If it can be told already that it will not be stored.
        """
        check_request(request, abstract_syntax)
        self._number += 1
        path = self._spool.partial / f"{self.record.token}~{self._number}{PARTIAL_SUFFIX}"
        self.check_free_space()
        header = file_header(
            request.sop_class_uid, request.sop_instance_uid, transfer_syntax, self.record.calling_aet.strip()
        )
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise refusal_for(error) from error
        incoming = IncomingInstance(self, request, transfer_syntax, path, handle, self._number)
        incoming.start(header)
        return incoming

    def check_free_space(self) -> None:
        """Raise Refused where less than `spool.min_free_bytes` is free."""
        try:
            free = self._rules.free_bytes(self._spool.partial)
        except OSError as error:
            raise refusal_for(error) from error
        if free < self._rules.min_free_bytes:
            log.error(
                "disk nearly full",
                free_bytes=free,
                min_free_bytes=self._rules.min_free_bytes,
                hint="free some disk, or lower spool.min_free_bytes",
            )
            raise Refused(OUT_OF_RESOURCES, "disk nearly full (spool.min_free_bytes), try again later")

    def keep(self, incoming: IncomingInstance, handle: int) -> None:
        """Make a complete partial file durable and move it into the inbox; OSError if the disk fails."""
        if self._rules.fsync:
            os.fsync(handle)
        if not self._recorded:
            write_association(self._spool.inbox, self.record)
            self._recorded = True
        name = instance_name(incoming.request.sop_instance_uid, self.record.token, incoming.number)
        incoming.path.rename(self._spool.inbox / name)
        if self._rules.fsync:
            fsync_folder(self._spool.inbox)
        self.stored += 1
        self.bytes += incoming.size

    def end(self, how: AssociationEnd) -> None:
        """The association is over: say so, and how it ended, to whoever waits for it."""
        if not self._recorded:
            return
        try:
            mark_ended(self._spool.inbox, self.record.token, how)
        except OSError as error:  # disk full: its series are then complete after the long quiet period
            log.warning("end not marked", association=self.record.token, error=error.strerror)


class IncomingInstance:
    """One instance between its first byte and its acknowledgement. `size` counts the data set's bytes."""

    def __init__(
        self,
        reception: Reception,
        request: StoreRequest,
        transfer_syntax: str,
        path: Path,
        handle: int,
        number: int,
    ) -> None:
        self.request = request
        self.path = path
        self.number = number
        self.size = 0
        self._reception = reception
        self._transfer_syntax = transfer_syntax
        self._handle: int | None = handle
        self._head = b""
        self._unchecked = 0
        self._began = time.monotonic()

    def start(self, header: bytes) -> None:
        """Write the file header; Refused if the disk fails."""
        self._write(memoryview(header))

    def write(self, data: memoryview) -> None:
        """Append bytes of the data set.

        Raises
        ------
        Refused
            If the disk is or becomes full, or fails; the partial file is gone then.
        """
        if len(self._head) < HEAD_BYTES:
            self._head += bytes(data[: HEAD_BYTES - len(self._head)])
        self._write(data)
        self.size += len(data)
        self._unchecked += len(data)
        if self._unchecked >= FREE_SPACE_INTERVAL_BYTES:
            self._unchecked = 0
            try:
                self._reception.check_free_space()
            except Refused:
                self.discard()
                raise

    def commit(self) -> None:
        """Make it durable and known by name in the inbox; then, and only then, it may be acknowledged.

        Raises
        ------
        Refused
            If the data set is empty or another one's, or the disk fails; the partial file is gone then.
        """
        assert self._handle is not None
        try:
            check_data_set(self.request, self.size, self._head, self._transfer_syntax)
            self._reception.keep(self, self._handle)
        except OSError as error:
            raise refusal_for(error) from error
        finally:
            self.discard()
        log.debug(
            "instance stored",
            association=self._reception.record.token,
            sop_instance_uid=self.request.sop_instance_uid,
            bytes=self.size,
            seconds=round(time.monotonic() - self._began, 4),
        )

    def discard(self) -> None:
        """Close the file, and remove it if it is still a partial one. Calling it again changes nothing."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            self.path.unlink(missing_ok=True)

    def _write(self, data: memoryview) -> None:
        assert self._handle is not None
        try:
            while data:
                data = data[os.write(self._handle, data) :]
        except OSError as error:
            self.discard()
            raise refusal_for(error) from error


def check_request(request: StoreRequest, abstract_syntax: str) -> None:
    """Raise Refused for a request that cannot be honoured whatever its data set is."""
    if not request.has_data_set:
        raise Refused(CANNOT_UNDERSTAND, "the request has no data set")
    if not is_valid_uid(request.sop_instance_uid):
        raise Refused(INVALID_INSTANCE, "the affected SOP instance UID is not a valid UID")
    if request.sop_class_uid != abstract_syntax:
        raise Refused(SOP_CLASS_NOT_SUPPORTED, "the SOP class is not the presentation context's")


def check_data_set(request: StoreRequest, size: int, head: bytes, transfer_syntax: str) -> None:
    """Raise Refused for a data set that is none, or that names itself otherwise than its request does."""
    if size == 0:
        raise Refused(CANNOT_UNDERSTAND, "the data set is empty")
    sop_class, sop_instance = peek_uids(head, transfer_syntax)
    if sop_instance != request.sop_instance_uid and is_valid_uid(sop_instance):
        raise Refused(MISMATCH, "the data set has another SOP instance UID than the request")
    if sop_class != request.sop_class_uid and is_valid_uid(sop_class):
        raise Refused(MISMATCH, "the data set has another SOP class UID than the request")
