"""A destination that speaks DICOMweb: STOW-RS of files, QIDO-RS for one object, and whether it is there.

    paths -> files described -> one POST each over one connection (PS3.18 10.5) -> SendOutcome per file

One file in a request: a service that refuses one object then cannot take the others along, and an answer tells of one
file only. The file goes out as it lies on disk, Part 10 and all; nothing is transcoded, nothing is retried here.
"""

from __future__ import annotations

import json
import os
import ssl
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from node.deliver.find import Wanted
from node.deliver.scu import EchoOutcome, ProbeOutcome, SendOutcome
from node.deliver.scu_files import OutgoingFile, find_files
from node.errors import PermanentError, RetriableError
from node.settings.model import WebDestination

JSON = "application/dicom+json"
CHUNK_BYTES = 1 << 20
LONGEST_ANSWER_BYTES = 1 << 20
"""An answer about one object is some hundred bytes; a service that streams for ever is not listened to."""

REFERENCED, FAILED = "00081199", "00081198"
FAILURE_REASON, WARNING_REASON = "00081197", "00081196"
"""Attributes of a STOW-RS response (PS3.18 table I.2-1, I.2-2)."""

SOP_INSTANCE_UID = "00080018"

DUPLICATE = 0x0111
FAILURES = {
    0x0110: ("processing failure", True),
    0x0117: ("invalid SOP instance", False),
    0x0122: ("SOP class not supported", False),
    0x0124: ("not authorised", True),
    0xA700: ("out of resources", True),
    0xA900: ("data set does not match SOP class", False),
    0xC000: ("cannot understand", False),
    0xC122: ("transfer syntax not supported", False),
}
"""Failure reasons (PS3.18 table I.2-2), and whether a later attempt may help."""

HTTP_WORDS = {
    400: "it does not understand the request",
    401: "it wants other credentials; check username and secret",
    403: "these credentials may not store there",
    404: "there is no DICOMweb service; check the url",
    413: "the object is too large for it",
    415: "it does not take this kind of object",
}
NEVER = (400, 409, 413, 415, 422)
"""Answers that this file will get again. The others are cured by time or by a person: then the delivery goes on."""


def store(
    paths: Iterable[Path], destination: WebDestination, progress: Callable[[int, int], None] | None = None
) -> list[SendOutcome]:
    """STOW-RS files; one outcome each, in the order of `paths`. Nothing is raised for a service that is away."""
    found = list(find_files(paths))
    outcomes = []
    try:
        with _client(destination) as client:
            for number, (path, what) in enumerate(found, start=1):
                if isinstance(what, PermanentError):
                    outcomes.append(SendOutcome(path, "", False, False, None, str(what)))
                else:
                    outcomes.append(_store_one(client, destination, what))
                if progress is not None:
                    progress(number, len(found))
    except PermanentError as error:  # the secret or the authorities cannot be read: no file fares better
        rest = [(path, getattr(what, "sop_instance_uid", "")) for path, what in found[len(outcomes) :]]
        outcomes += [SendOutcome(path, uid, False, True, None, str(error)) for path, uid in rest]
    return outcomes


def has_object(destination: WebDestination, wanted: Wanted) -> bool:
    """True if QIDO-RS lists the object.

    Raises
    ------
    RetriableError
        If the service cannot be asked now.
    PermanentError
        If the credentials cannot be read.
    """
    where = f"{destination.url.rstrip('/')}/studies/{wanted.study_uid}/series/{wanted.series_uid}/instances"
    with _client(destination) as client:
        try:
            answer = client.get(where, params={"SOPInstanceUID": wanted.sop_uid}, headers={"Accept": JSON})
        except httpx2.HTTPError as error:
            raise RetriableError(_away(destination, error)) from error
    if answer.status_code in (204, 404):
        return False
    if answer.status_code != 200:
        raise RetriableError(f"{destination.name} answered QIDO-RS with HTTP status {answer.status_code}")
    listed = _read_json(answer.content)
    rows = listed if isinstance(listed, list) else []
    return any(_first(row, SOP_INSTANCE_UID) == wanted.sop_uid for row in rows)


def probe(destination: WebDestination) -> ProbeOutcome:
    """Ask QIDO-RS for one study: is the service there, does it take our credentials?

    Which SOP classes it would store shows only when something is stored, so `accepts` stays empty.
    """
    try:
        with _client(destination) as client:
            where = f"{destination.url.rstrip('/')}/studies"
            answer = client.get(where, params={"limit": 1}, headers={"Accept": JSON}, timeout=10.0)
    except PermanentError as error:
        return ProbeOutcome(EchoOutcome(False, False, str(error)))
    except httpx2.HTTPError as error:
        return ProbeOutcome(EchoOutcome(False, True, _away(destination, error)))
    if answer.status_code in (200, 204):
        return ProbeOutcome(EchoOutcome(True, False, f"{destination.url} answers QIDO-RS"))
    sentence = f"{destination.url} answered QIDO-RS with HTTP status {answer.status_code}"
    words = HTTP_WORDS.get(answer.status_code)
    return ProbeOutcome(EchoOutcome(False, True, f"{sentence}: {words}" if words else sentence))


@contextmanager
def _client(destination: WebDestination) -> Iterator[httpx2.Client]:
    auth, headers = _credentials(destination)
    try:
        verify = ssl.create_default_context(cafile=str(destination.trusted) if destination.trusted else None)
    except OSError as error:
        raise PermanentError(f"{destination.trusted} cannot be used: {error}") from error
    with httpx2.Client(auth=auth, headers=headers, verify=verify, timeout=destination.timeout_s) as client:
        yield client


def _credentials(destination: WebDestination) -> tuple[tuple[str, str] | None, dict[str, str]]:
    if destination.secret_env is not None:
        secret = os.environ.get(destination.secret_env, "")
        source = f"the environment variable {destination.secret_env}"
    elif destination.secret_file is not None:
        source = str(destination.secret_file)
        try:
            secret = destination.secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise PermanentError(f"the secret of {destination.name} cannot be read from {source}: {error}") from error
    else:
        return None, {}
    if not secret:
        raise PermanentError(f"the secret of {destination.name} is empty; set {source}")
    if destination.username is not None:
        return (destination.username, secret), {}
    return None, {"Authorization": f"Bearer {secret}"}


def _store_one(client: httpx2.Client, destination: WebDestination, file: OutgoingFile) -> SendOutcome:
    boundary = f"osteon-{uuid.uuid4().hex}"
    opening = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    closing = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": JSON,
    }
    try:
        length = len(opening) + file.path.stat().st_size + len(closing)
        answer = client.post(
            f"{destination.url.rstrip('/')}/studies",
            content=_body(file.path, opening, closing),
            headers={**headers, "Content-Length": str(length)},
        )
    except httpx2.HTTPError as error:
        return SendOutcome(file.path, file.sop_instance_uid, False, True, None, _away(destination, error))
    except OSError as error:
        text = f"{file.path} cannot be read: {error.strerror or error}"
        return SendOutcome(file.path, file.sop_instance_uid, False, True, None, text)
    return judge(destination, file, answer.status_code, answer.content)


def _body(path: Path, opening: bytes, closing: bytes) -> Iterator[bytes]:
    yield opening
    with path.open("rb") as held:
        while chunk := held.read(CHUNK_BYTES):
            yield chunk
    yield closing


def judge(destination: WebDestination, file: OutgoingFile, status: int, body: bytes) -> SendOutcome:
    """What an answer to STOW-RS of one file means (PS3.18 table 10.5.3-1, annex I).

    The data set in the answer counts before the HTTP status: 202 and 409 both may say that a part failed, and some
    services say 200 and refuse inside.
    """
    said = _read_json(body)
    said = said[0] if isinstance(said, list) and said else said
    where = destination.url
    for row in _items(said, FAILED):
        reason = int(_first(row, FAILURE_REASON) or 0)
        if reason == DUPLICATE:
            text = f"{where} has it already (0x0111)"
            return SendOutcome(file.path, file.sop_instance_uid, True, False, reason, text)
        known = (FAILURES.get(reason & mask) for mask in (0xFFFF, 0xFF00, 0xF000))
        words, again = next((found for found in known if found), ("failed", False))
        text = f"{where} refused it with reason 0x{reason:04X}, {words}"
        return SendOutcome(file.path, file.sop_instance_uid, False, again, reason, text)
    for row in _items(said, REFERENCED):
        warning = _first(row, WARNING_REASON)
        text = f"stored with a warning (0x{int(warning):04X})" if warning else "stored"
        return SendOutcome(file.path, file.sop_instance_uid, True, False, int(warning or 0), text)
    if status == 200:  # a service that answers without a body
        return SendOutcome(file.path, file.sop_instance_uid, True, False, 0, "stored")
    words = HTTP_WORDS.get(status, "")
    text = f"{where} answered STOW-RS with HTTP status {status}{': ' if words else ''}{words}"
    return SendOutcome(file.path, file.sop_instance_uid, False, status not in NEVER, status, text)


def _items(data_set: Any, tag: str) -> list[dict[str, Any]]:
    """The items of a sequence in DICOM JSON; none where the answer is something else."""
    sequence = data_set.get(tag) if isinstance(data_set, dict) else None
    values = sequence.get("Value") if isinstance(sequence, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _first(data_set: Any, tag: str) -> Any:
    element = data_set.get(tag) if isinstance(data_set, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _read_json(body: bytes) -> Any:
    """The answer as JSON; None where it is none (some services answer in XML whatever one accepts)."""
    try:
        return json.loads(body[:LONGEST_ANSWER_BYTES])
    except ValueError:
        return None


def _away(destination: WebDestination, error: httpx2.HTTPError) -> str:
    return f"{destination.url} cannot be reached: {error or type(error).__name__}"
