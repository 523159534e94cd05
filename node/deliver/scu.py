"""Sending over DICOM: C-STORE of files, C-ECHO, and what a destination would accept.

    paths -> files described -> batches of at most 128 presentation contexts -> association each -> SendOutcome per file

Serves `osteon send` and deliveries alike. It sends what a file holds and tells what came of it; it does not retry, and
it transcodes nothing: a peer that takes an uncompressed file only in Implicit VR, which every peer must, gets it
re-encoded, but a compressed file that it does not accept is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node.deliver.scu_association import Answer, Peer, RequestedAssociation, Timeouts, open_association
from node.deliver.scu_files import MAX_CONTEXTS, OutgoingFile, batches, find_files
from node.errors import PermanentError, RetriableError
from node.settings.model import Destination, TlsSettings
from node.storage.part10 import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

VERIFICATION = "1.2.840.10008.1.1"

RESULT_CLASSES = {
    "seg": "1.2.840.10008.5.1.4.1.1.66.4",
    "sr": "1.2.840.10008.5.1.4.1.1.88.34",
    "sc": "1.2.840.10008.5.1.4.1.1.7",
    "seg-labelmap": "1.2.840.10008.5.1.4.1.1.66.7",
}
"""SOP class of each kind of result: Segmentation, Comprehensive 3D SR, Secondary Capture, Label Map Segmentation."""

SUCCESS = 0x0000
DUPLICATE = 0x0111
PROCESSING_FAILURE = 0x0110

STATUS_WORDS = {
    0x0110: "processing failure",
    0x0117: "invalid SOP instance",
    0x0122: "SOP class not supported",
    0x0124: "not authorised",
}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SendOutcome:
    """What became of one file.

    `ok` means that the peer has it; otherwise `retriable` says whether a later attempt may help. `status` is the
    C-STORE status, None where it did not come to one. `sentence` is for a person.
    """

    path: Path
    sop_instance_uid: str
    ok: bool
    retriable: bool
    status: int | None
    sentence: str


@dataclass(frozen=True)
class EchoOutcome:
    """Whether a peer answered C-ECHO, and if not why."""

    ok: bool
    retriable: bool
    sentence: str


@dataclass(frozen=True)
class ProbeOutcome:
    """C-ECHO, and for each kind of result whether the peer would take it; empty where there was no association."""

    echo: EchoOutcome
    accepts: dict[str, bool] = field(default_factory=dict)


def send_files(
    paths: Iterable[Path],
    host: str,
    port: int,
    called_aet: str,
    calling_aet: str,
    tls: TlsSettings | None = None,
    progress: Progress | None = None,
    timeouts: Timeouts | None = None,
) -> list[SendOutcome]:
    """C-STORE files and folders.

    Parameters
    ----------
    paths
        Files (Part 10, without preamble, or bare data sets) and folders, which are searched.
    progress
        Called with files done and files in all, after each.

    Returns
    -------
    list of SendOutcome
        One per file, in the order of `paths`; files in folders that are no DICOM are not counted. Nothing is raised
        for a peer that cannot be reached: each file then says so.
    """
    peer = Peer(host, port, called_aet, calling_aet, tls)
    found = list(find_files(paths))
    outcomes = {
        path: SendOutcome(path, "", False, False, None, str(what))
        for path, what in found
        if isinstance(what, PermanentError)
    }
    files = [what for _, what in found if isinstance(what, OutgoingFile)]

    def note(file: OutgoingFile, outcome: SendOutcome) -> None:
        outcomes[file.path] = outcome
        if progress is not None:
            progress(len(outcomes), len({path for path, _ in found}))

    # Two contexts may be needed per pair: the file's own transfer syntax, and Implicit VR.
    for batch in batches(files, MAX_CONTEXTS // 2):
        _send_batch(peer, batch, timeouts or Timeouts(), note)
    return [outcomes[path] for path, _ in found]


def echo(
    host: str,
    port: int,
    called_aet: str,
    calling_aet: str,
    tls: TlsSettings | None = None,
    timeout_s: float = 10.0,
) -> EchoOutcome:
    """C-ECHO: whether the peer is there and knows us."""
    return _look(Peer(host, port, called_aet, calling_aet, tls), [], timeout_s).echo


def probe(destination: Destination, calling_aet: str, timeout_s: float = 10.0) -> ProbeOutcome:
    """C-ECHO a destination, and learn by negotiation alone which kinds of result it accepts; nothing is sent."""
    peer = Peer(
        destination.host,
        destination.port,
        destination.ae_title,
        destination.calling_ae_title or calling_aet,
        destination.tls,
    )
    return _look(peer, list(RESULT_CLASSES.values()), timeout_s)


def _look(peer: Peer, sop_classes: Sequence[str], timeout_s: float) -> ProbeOutcome:
    proposed = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    contexts = [(VERIFICATION, proposed), *((sop_class, proposed) for sop_class in sop_classes)]
    try:
        with open_association(peer, contexts, Timeouts(timeout_s, timeout_s, timeout_s)) as association:
            classes = {sop_class: context_id for (sop_class, _), context_id in association.accepted.items()}
            accepts = {kind: uid in classes for kind, uid in RESULT_CLASSES.items() if uid in sop_classes}
            if VERIFICATION not in classes:
                return ProbeOutcome(EchoOutcome(False, False, f"{peer} does not support C-ECHO"), accepts)
            status = association.echo(classes[VERIFICATION]).status
    except (PermanentError, RetriableError) as error:
        return ProbeOutcome(EchoOutcome(False, isinstance(error, RetriableError), str(error)))
    if status != SUCCESS:
        return ProbeOutcome(EchoOutcome(False, True, f"{peer} answered C-ECHO with status 0x{status:04X}"), accepts)
    return ProbeOutcome(EchoOutcome(True, False, f"{peer} answers C-ECHO"), accepts)


def _send_batch(
    peer: Peer, batch: Sequence[OutgoingFile], timeouts: Timeouts, note: Callable[[OutgoingFile, SendOutcome], None]
) -> None:
    """Send a batch; where the association breaks on a file, that file is told so and the rest go on a new one."""
    remaining = list(batch)
    broken_at_once = 0
    while remaining:
        done, established = 0, False
        try:
            with open_association(peer, _contexts(remaining), timeouts) as association:
                established = True
                for file in list(remaining):
                    outcome = _send_one(peer, association, file)
                    note(file, outcome)
                    done += 1
                    remaining.remove(file)
        except (PermanentError, RetriableError) as error:
            retriable = isinstance(error, RetriableError)
            broken_at_once = 0 if done else broken_at_once + 1
            # On the first file it may be that file's fault, and it must not hold up the others for ever; without an
            # association, or at once a second time, the next would fare no better, and all are told the same.
            alone = established and broken_at_once < 2
            for lost in remaining[:1] if alone else list(remaining):
                note(lost, SendOutcome(lost.path, lost.sop_instance_uid, False, retriable, None, str(error)))
                remaining.remove(lost)


def _contexts(files: Sequence[OutgoingFile]) -> list[tuple[str, tuple[str, ...]]]:
    """Each pair of SOP class and transfer syntax by itself, and Implicit VR for what can be re-encoded."""
    pairs = dict.fromkeys((file.sop_class_uid, file.transfer_syntax_uid) for file in files)
    for sop_class, syntax in list(pairs):
        if syntax == EXPLICIT_VR_LITTLE_ENDIAN:
            pairs[(sop_class, IMPLICIT_VR_LITTLE_ENDIAN)] = None
        elif syntax == IMPLICIT_VR_LITTLE_ENDIAN:
            pairs[(sop_class, EXPLICIT_VR_LITTLE_ENDIAN)] = None
    return [(sop_class, (syntax,)) for sop_class, syntax in pairs]


def _send_one(peer: Peer, association: RequestedAssociation, file: OutgoingFile) -> SendOutcome:
    context_id = association.accepted.get((file.sop_class_uid, file.transfer_syntax_uid))
    try:
        if context_id is not None:
            answer = association.store(file, context_id)
        else:
            context_id, encoded = _reencoded(peer, association, file)
            answer = association.store(file, context_id, encoded)
    except PermanentError as error:
        return SendOutcome(file.path, file.sop_instance_uid, False, False, None, str(error))
    except OSError as error:
        text = f"{file.path} cannot be read: {error.strerror or error}"
        association.abort()
        raise RetriableError(text) from error
    return _judge(peer, file, answer)


def _reencoded(peer: Peer, association: RequestedAssociation, file: OutgoingFile) -> tuple[int, bytes]:
    """The data set in the other uncompressed little endian encoding, and the context that takes it.

    Raises
    ------
    PermanentError
        If the file is compressed or big endian, or the peer takes neither, or the file cannot be decoded.
    """
    from pydicom.uid import UID

    name, syntax = UID(file.sop_class_uid).name, UID(file.transfer_syntax_uid).name
    plain = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
    for other in plain:
        context_id = association.accepted.get((file.sop_class_uid, other))
        if context_id is not None and file.transfer_syntax_uid in plain:
            return context_id, _encode(file, implicit=other == IMPLICIT_VR_LITTLE_ENDIAN)
    if any(sop_class == file.sop_class_uid for sop_class, _ in association.accepted):
        raise PermanentError(f"{peer} does not accept {name} in {syntax}; convert {file.path} before sending")
    raise PermanentError(f"{peer} does not accept {name} ({file.sop_class_uid}) in {syntax}; enable it there")


def _encode(file: OutgoingFile, implicit: bool) -> bytes:
    from pydicom import dcmread
    from pynetdicom.dsutils import encode

    try:
        encoded = encode(dcmread(file.path, force=True), implicit, True)
    except Exception as error:  # pydicom raises whatever a damaged data set leads it to
        raise PermanentError(f"{file.path} cannot be re-encoded for the peer: {type(error).__name__}") from error
    if encoded is None:
        raise PermanentError(f"{file.path} cannot be re-encoded for the peer")
    return encoded


def _judge(peer: Peer, file: OutgoingFile, answer: Answer) -> SendOutcome:
    """What a C-STORE status means for whoever sent (PS3.4 table B.2-1, PS3.7 annex C)."""
    status = answer.status
    comment = f": {answer.comment}" if answer.comment else ""
    if status == SUCCESS:
        ok, retriable, sentence = True, False, "stored"
    elif status == DUPLICATE:
        ok, retriable, sentence = True, False, f"{peer} has it already (0x0111)"
    elif status & 0xF000 == 0xB000 or status == 0x0001:
        ok, retriable, sentence = True, False, f"stored with a warning (0x{status:04X}){comment}"
    else:
        words = STATUS_WORDS.get(status, _class_of(status))
        ok, retriable = False, status & 0xFF00 == 0xA700 or status == PROCESSING_FAILURE
        sentence = f"{peer} refused it with status 0x{status:04X}, {words}{comment}"
    return SendOutcome(file.path, file.sop_instance_uid, ok, retriable, status, sentence)


def _class_of(status: int) -> str:
    if status & 0xFF00 == 0xA700:
        return "out of resources"
    if status & 0xFF00 == 0xA900:
        return "data set does not match SOP class"
    if status & 0xF000 == 0xC000:
        return "cannot understand"
    return "failed"
