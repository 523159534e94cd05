"""A DICOMweb service for tests, on the standard library: a real HTTP server that answers as it is told.

It reads multipart/related by Python's own parser of messages, so that what we send is judged by somebody else.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydicom import Dataset, dcmread

Answer = tuple[int, Any]


@dataclass
class WebArchive:
    """What it received, and what it is to answer.

    Attributes
    ----------
    answers
        HTTP status and JSON body of the next answers to STOW-RS; stored as asked once they are used up.
    authorization
        The header it wants; "" lets everybody in.
    """

    port: int = 0
    received: list[Dataset] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    authorization: str = ""
    hidden: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def stow(self, content_type: str, body: bytes) -> Answer:
        parts = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
        assert parts.get_content_type() == "multipart/related"
        assert parts.get_param("type") == "application/dicom"
        held = [dcmread(BytesIO(part.get_payload(decode=True))) for part in parts.iter_parts()]
        if self.answers:
            return self.answers.pop(0)
        self.received += held
        return 200, [{"00081199": {"vr": "SQ", "Value": [_reference(one) for one in held]}}]

    def qido(self, wanted: str) -> Answer:
        found = [one for one in self.received if one.SOPInstanceUID == wanted and not self.hidden]
        rows = [{"00080018": {"vr": "UI", "Value": [str(one.SOPInstanceUID)]}} for one in found]
        return (200, rows) if rows else (204, None)


def _reference(one: Dataset) -> dict[str, Any]:
    return {"00081155": {"vr": "UI", "Value": [str(one.SOPInstanceUID)]}}


def refusal(reason: int, status: int = 409) -> Answer:
    """An answer in which the object failed (PS3.18 table I.2-2)."""
    return status, [{"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}}]}}]


@contextmanager
def running_web_archive(archive: WebArchive) -> Iterator[WebArchive]:
    """Serve on loopback; `archive.port` is the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert urlsplit(self.path).path == "/dicom-web/studies"
            self._answer(lambda: archive.stow(self.headers["Content-Type"], body))

        def do_GET(self) -> None:
            wanted = parse_qs(urlsplit(self.path).query).get("SOPInstanceUID", [""])[0]
            self._answer(lambda: archive.qido(wanted) if wanted else (200, []))

        def _answer(self, make: Any) -> None:
            allowed = not archive.authorization or self.headers.get("Authorization") == archive.authorization
            status, found = make() if allowed else (401, None)
            content = b"" if found is None else json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    archive.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield archive
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
