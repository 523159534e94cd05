"""The viewer's server: files, configuration, the way through to the archive. And how the viewer is fetched.

A real HTTP server stands in for the archive; Orthanc itself is in test_orthanc and test_ohif.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from deploy.ohif.fetch import VERSION, OhifUnavailable, cached_ohif, fetch_ohif
from deploy.ohif.serve import OhifServer, main


class Archive(BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        host, accept = self.headers["Host"], self.headers.get("Accept")
        told = {"method": self.command, "path": self.path, "host": host, "accept": accept, "body": body}
        content = json.dumps(told).encode()
        self.send_response(202)
        self.send_header("Content-Type", "application/dicom+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def archive_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewer") / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<html>viewer</html>")
    (folder / "app-config.js").write_text("the package's own configuration")
    (folder / "assets" / "code.wasm").write_bytes(b"\0asm")
    (folder.parent / "secret.txt").write_text("secret")
    return folder


@pytest.fixture(scope="module")
def server(dist: Path, archive_url: str) -> Iterator[OhifServer]:
    with OhifServer(dist, archive_url) as running:
        yield running


def ask(server: OhifServer, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    try:
        connection.request(method, path, body=body, headers={"Accept": "application/dicom+json"})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_files_are_served_with_their_types_and_isolation_headers(server: OhifServer) -> None:
    status, headers, content = ask(server, "GET", "/assets/code.wasm")
    assert (status, content, headers["Content-Type"]) == (200, b"\0asm", "application/wasm")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"


def test_pages_of_the_viewer_are_its_index(server: OhifServer) -> None:
    for path in ("/", "/viewer?StudyInstanceUIDs=1.2.3"):
        assert ask(server, "GET", path)[2] == b"<html>viewer</html>"


def test_a_missing_file_is_not_found(server: OhifServer) -> None:
    assert ask(server, "GET", "/assets/none.js")[0] == 404


@pytest.mark.parametrize("path", ["/../secret.txt", "/%2e%2e/secret.txt", "/assets/../../secret.txt", "//secret.txt"])
def test_nothing_outside_the_viewer_s_folder_is_served(server: OhifServer, path: str) -> None:
    status, _, content = ask(server, "GET", path)
    assert status == 404 and b"secret" not in content.replace(b"secret.txt", b"")


def test_the_configuration_is_ours_and_points_at_this_origin(server: OhifServer) -> None:
    _, headers, content = ask(server, "GET", "/app-config.js")
    text = content.decode()
    assert headers["Content-Type"] == "text/javascript"
    assert "window.location.origin + '/dicom-web'" in text
    assert "@ohif/extension-default.dataSourcesModule.dicomweb" in text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_dicomweb_requests_reach_the_archive_unchanged(server: OhifServer, method: str) -> None:
    body = b"multipart" if method == "POST" else None
    status, headers, content = ask(server, method, "/dicom-web/studies?limit=3", body)
    assert (status, headers["Content-Type"]) == (202, "application/dicom+json")
    told = json.loads(content)
    assert told == {
        "method": method,
        "path": "/dicom-web/studies?limit=3",
        "host": urlsplit(server.url).netloc,
        "accept": "application/dicom+json",
        "body": "multipart" if body else "",
    }


def test_only_dicomweb_is_passed_on(server: OhifServer) -> None:
    assert ask(server, "GET", "/dicom-webshop/studies")[2] == b"<html>viewer</html>"
    assert ask(server, "POST", "/instances", b"x")[0] == 405


def test_an_archive_that_is_gone_is_a_bad_gateway(dist: Path) -> None:
    gone = ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    port = gone.server_address[1]
    gone.server_close()
    with OhifServer(dist, f"http://127.0.0.1:{port}") as server:
        assert ask(server, "GET", "/dicom-web/studies")[0] == 502


def test_wrong_arguments_are_a_sentence_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--ohif", str(tmp_path), "--port", "0"]) == 2
    assert "index.html" in capsys.readouterr().err
    (tmp_path / "index.html").write_text("")
    assert main(["--ohif", str(tmp_path), "--orthanc", "localhost", "--port", "0"]) == 2
    assert "not an http:// address" in capsys.readouterr().err


def test_a_fetched_viewer_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    dist = tmp_path / f"ohif-app-{VERSION}" / "dist"
    dist.mkdir(parents=True)
    assert cached_ohif(tmp_path) is None
    (dist / "index.html").write_text("")
    assert fetch_ohif(tmp_path) == dist


def test_without_npm_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OhifUnavailable, match="npm is not installed"):
        fetch_ohif(tmp_path / "cache")
