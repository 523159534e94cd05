"""Serve the OHIF viewer over an Orthanc: static files, a generated app-config.js, and /dicom-web passed on.

    python -m deploy.ohif.serve --ohif DIR --orthanc URL --port 3000

One origin for viewer and archive, so that no cross-origin rules need to be opened. Binds to loopback unless told
otherwise: whoever reaches this port can read the archive. Made for the demo and the tests, not for a hospital.
"""

from __future__ import annotations

import argparse
import http.client
import json
import mimetypes
import shutil
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

DICOMWEB_PREFIX = "/dicom-web"
APP_CONFIG = "/app-config.js"
CONNECT_TIMEOUT_S = 60.0
COPY_BYTES = 1 << 16

_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers", "transfer-encoding",
     "upgrade", "content-length"}
)  # fmt: skip
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}


def app_config() -> str:
    """OHIF's configuration: one DICOMweb data source at this server's own origin."""
    source = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "dicomweb",
        "configuration": {
            "friendlyName": "osteon archive",
            "name": "osteon",
            "qidoSupportsIncludeField": False,
            "supportsReject": False,
            "imageRendering": "wadors",
            "thumbnailRendering": "wadors",
            "enableStudyLazyLoad": True,
            "supportsFuzzyMatching": False,
            "supportsWildcard": True,
            "dicomUploadEnabled": False,
            "singlepart": "bulkdata,video,pdf",
            "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
            "omitQuotationForMultipartRequest": True,
        },
    }
    config = {
        "routerBasename": "/",
        "showStudyList": True,
        "extensions": [],
        "modes": [],
        "maxNumberOfWebWorkers": 2,
        "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False,
        "strictZSpacingForVolumeViewport": True,
        "defaultDataSourceName": "dicomweb",
        "dataSources": [source],
    }
    return (
        f"window.config = {json.dumps(config, indent=2)};\n"
        "(function (settings) {\n"
        f"  const root = window.location.origin + '{DICOMWEB_PREFIX}';\n"
        "  settings.qidoRoot = settings.wadoRoot = settings.wadoUriRoot = root;\n"
        "})(window.config.dataSources[0].configuration);\n"
    )


class OhifServer:
    """The server, in a thread of its own; a context manager."""

    def __init__(self, ohif: Path, orthanc_url: str, port: int = 0, host: str = "127.0.0.1") -> None:
        if not (ohif / "index.html").is_file():
            raise FileNotFoundError(f"{ohif} holds no index.html: give the 'dist' folder of @ohif/app")
        target = urlsplit(orthanc_url)
        if target.scheme != "http" or target.hostname is None:
            raise ValueError(f"'{orthanc_url}' is not an http:// address of an Orthanc")
        handler = type(
            "OhifHandler",
            (_Handler,),
            {"root": ohif.resolve(), "archive": (target.hostname, target.port or 80), "config": app_config().encode()},
        )
        self._server = ThreadingHTTPServer((host, port), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="ohif", daemon=True)

    @property
    def url(self) -> str:
        """Where the study list is."""
        host, port = self._server.server_address[:2]
        return f"http://{host if isinstance(host, str) else host.decode()}:{port}"

    def study_url(self, study_instance_uid: str) -> str:
        """Where one study opens."""
        return f"{self.url}/viewer?StudyInstanceUIDs={study_instance_uid}"

    def start(self) -> OhifServer:
        """Serve in the background."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def serve_forever(self) -> None:
        """Serve in the foreground until interrupted."""
        try:
            self._server.serve_forever()
        finally:
            self._server.server_close()

    def __enter__(self) -> OhifServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    """Static files and the way through to the archive."""

    protocol_version = "HTTP/1.1"
    root: Path
    archive: tuple[str, int]
    config: bytes

    def do_GET(self) -> None:
        if self._is_dicomweb():
            self._pass_on()
        elif urlsplit(self.path).path == APP_CONFIG:
            self._send(self.config, "text/javascript")
        else:
            self._send_file()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        if self._is_dicomweb():
            self._pass_on()
        else:
            self.send_error(HTTPStatus.METHOD_NOT_ALLOWED)

    def log_message(self, format: str, *args: object) -> None:
        """Silent: request lines hold UIDs and search terms."""

    def _is_dicomweb(self) -> bool:
        path = urlsplit(self.path).path
        return path == DICOMWEB_PREFIX or path.startswith(f"{DICOMWEB_PREFIX}/")

    def _send(self, body: bytes, content_type: str) -> None:
        self.send_response(HTTPStatus.OK)
        self._common_headers(content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _common_headers(self, content_type: str) -> None:
        self.send_header("Content-Type", content_type)
        # The viewer's decoders share memory between threads, which browsers allow on isolated pages only.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")

    def _send_file(self) -> None:
        wanted = unquote(urlsplit(self.path).path).lstrip("/")
        path = (self.root / wanted).resolve()
        if not path.is_relative_to(self.root):
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        if not path.is_file():
            if path.suffix:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            # Every other address is a page of the single-page viewer.
            path = self.root / "index.html"
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        self.send_response(HTTPStatus.OK)
        self._common_headers(kind)
        self.send_header("Content-Length", str(path.stat().st_size))
        self.end_headers()
        if self.command != "HEAD":
            with path.open("rb") as file:
                shutil.copyfileobj(file, self.wfile, COPY_BYTES)

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        # Host goes through unchanged: the archive builds the addresses in its answers from it.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        connection = http.client.HTTPConnection(*self.archive, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.request(self.command, self.path, body=body, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            self.send_error(HTTPStatus.BAD_GATEWAY, explain=f"the archive does not answer: {error.__class__.__name__}")
            return
        finally:
            connection.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Serve the OHIF viewer over an Orthanc with DICOMweb.")
    parser.add_argument("--ohif", type=Path, required=True, help="the 'dist' folder of @ohif/app")
    parser.add_argument("--orthanc", default="http://127.0.0.1:8042", help="Orthanc's address (default: %(default)s)")
    parser.add_argument("--port", type=int, default=3000, help="port to serve on (default: %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        server = OhifServer(options.ohif, options.orthanc, options.port, options.host)
    except (OSError, ValueError) as error:
        print(f"cannot serve the viewer: {error}", file=sys.stderr)
        return 2
    print(f"OHIF: {server.url}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("stopped")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
