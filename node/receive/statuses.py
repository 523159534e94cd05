"""Every status with which the listener answers a C-STORE request, and when.

A refusal travels as `Refused` from wherever it is noticed to the one place that answers. What a sender makes of a
status is its own affair, but the classes are the standard's: 0xA7xx means "try again later", the others "not like
this" (PS3.4 table B.2-1, PS3.7 annex C).
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

ERROR_COMMENT_LENGTH = 64
"""ErrorComment (0000,0902) has VR LO (PS3.5 table 6.2-1)."""


@dataclass(frozen=True)
class StoreStatus:
    """One status: its code, the standard's word for it, and when the listener answers with it."""

    code: int
    meaning: str
    when: str


SUCCESS = StoreStatus(0x0000, "success", "the bytes are durable in the inbox")
PROCESSING_FAILURE = StoreStatus(0x0110, "processing failure", "the disk failed in a way that is not 'full'")
INVALID_INSTANCE = StoreStatus(0x0117, "invalid SOP instance", "Affected SOP Instance UID is missing or no UID")
SOP_CLASS_NOT_SUPPORTED = StoreStatus(
    0x0122, "SOP class not supported", "Affected SOP Class UID is not the presentation context's"
)
OUT_OF_RESOURCES = StoreStatus(0xA700, "out of resources", "free disk is below spool.min_free_bytes, or ran out")
MISMATCH = StoreStatus(
    0xA900, "data set does not match SOP class", "the data set's own SOP class or instance UID is another"
)
CANNOT_UNDERSTAND = StoreStatus(0xC000, "cannot understand", "there is no data set, or an empty one")

STATUSES = (
    SUCCESS,
    PROCESSING_FAILURE,
    INVALID_INSTANCE,
    SOP_CLASS_NOT_SUPPORTED,
    OUT_OF_RESOURCES,
    MISMATCH,
    CANNOT_UNDERSTAND,
)


class Refused(Exception):
    """The instance will not be stored: the status, and a sentence for ErrorComment (cut to 64 characters)."""

    def __init__(self, status: StoreStatus, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment.encode("ascii", "replace").decode()[:ERROR_COMMENT_LENGTH]


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What a later attempt may survive: disk or quota full, no file handles, no memory."""


def refusal_for(error: OSError) -> Refused:
    """The refusal for an error of the file system."""
    status = OUT_OF_RESOURCES if error.errno in _FULL else PROCESSING_FAILURE
    return Refused(status, f"not stored: {error.strerror or type(error).__name__}")
