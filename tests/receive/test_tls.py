"""TLS on the listener and in the sender: who has the right certificate comes in, nobody can hold the door shut."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.deliver.scu import echo, send_files
from node.errors import ConfigurationError
from node.receive.tls import server_context
from node.settings.model import ListenTlsSettings, TlsSettings
from tests.receive.listening import Running, listening, make_configuration
from tests.receive.raw_peer import CT, RawPeer, small_data_set


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, a server and a client certificate signed by it, and a stranger's, made for this test run."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    for name in ("authority", "stranger"):
        subject = ("-subj", f"/CN=osteon test {name}", "-days", "2", "-newkey", "rsa:2048", "-nodes")
        run("req", "-x509", *subject, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name in ("server", "client"):
        run("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", "request")
        signer = ("-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial", "-days", "2")
        run("x509", "-req", "-in", "request", *signer, "-out", f"{name}.pem")
    return folder


def tls(folder: Path, name: str) -> TlsSettings:
    return TlsSettings(certificate=folder / f"{name}.pem", key=folder / f"{name}.key", trusted=folder / "authority.pem")


@pytest.fixture
def node(tmp_path: Path, certificates: Path) -> Iterator[Running]:
    configuration = make_configuration(tmp_path, tls=tls(certificates, "server").model_dump(), acse_timeout_s=1)
    with listening(configuration) as running:
        yield running


def test_a_client_with_a_trusted_certificate_sends_over_tls(node: Running, certificates: Path, tmp_path: Path) -> None:
    file = tmp_path / "bare.dcm"
    file.write_bytes(small_data_set(extra=bytes(500_000)))
    (outcome,) = send_files([file], "127.0.0.1", node.port, "OSTEON", "SENDER", tls(certificates, "client"))
    assert outcome.ok, outcome.sentence
    assert node.instances()[0].path.read_bytes().endswith(file.read_bytes())


def test_a_client_with_a_strangers_certificate_is_kept_out_and_told_so(node: Running, certificates: Path) -> None:
    answer = echo("127.0.0.1", node.port, "OSTEON", "SENDER", tls(certificates, "stranger"), timeout_s=5)
    assert not answer.ok
    assert "certificate" in answer.sentence
    assert echo("127.0.0.1", node.port, "OSTEON", "SENDER", tls(certificates, "client"), timeout_s=5).ok


def test_a_sender_does_not_trust_a_strangers_server(certificates: Path, tmp_path: Path) -> None:
    server = tls(certificates, "stranger").model_dump()
    with listening(make_configuration(tmp_path, tls=server)) as node:
        answer = echo("127.0.0.1", node.port, "OSTEON", "SENDER", tls(certificates, "client"), timeout_s=5)
    assert (answer.ok, answer.retriable) == (False, True), "the peer may be given the right one tomorrow"
    assert "certificate" in answer.sentence.lower()


@pytest.mark.parametrize("broken", ["away", "damaged"])
def test_results_wait_while_the_senders_own_tls_files_are_broken(
    certificates: Path, tmp_path: Path, node: Running, broken: str
) -> None:
    mine = tls(certificates, "client")
    mine = mine.model_copy(update={"key": tmp_path / "client.key"})
    if broken == "damaged":
        mine.key.write_text("no key")
    answer = echo("127.0.0.1", node.port, "OSTEON", "SENDER", mine, timeout_s=5)
    assert (answer.ok, answer.retriable) == (False, True)
    assert "TLS files" in answer.sentence


def test_results_wait_while_a_peer_closes_during_the_handshake(certificates: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closing = threading.Thread(target=lambda: server.accept()[0].close())
        closing.start()
        port = server.getsockname()[1]
        answer = echo("127.0.0.1", port, "OSTEON", "SENDER", tls(certificates, "client"), timeout_s=5)
        closing.join()
    assert (answer.ok, answer.retriable) == (False, True)


@pytest.mark.slow
def test_silent_and_plain_clients_do_not_hold_up_a_tls_client(node: Running, certificates: Path) -> None:
    silent = [socket.create_connection(("127.0.0.1", node.port), timeout=20) for _ in range(20)]
    with RawPeer(node.port) as plain:
        plain.send(b"\x01\x00\x00\x00\x00\xce" + bytes(206))
        assert echo("127.0.0.1", node.port, "OSTEON", "SENDER", tls(certificates, "client"), timeout_s=5).ok
    for each in silent:
        assert each.recv(10) == b""
        each.close()


def test_a_tls_client_at_a_plain_port_fails_with_a_sentence(certificates: Path, tmp_path: Path) -> None:
    with listening(make_configuration(tmp_path)) as node:
        answer = echo("127.0.0.1", node.port, "OSTEON", "SENDER", tls(certificates, "client"), timeout_s=5)
        assert not answer.ok
        assert "TLS" in answer.sentence or "connection" in answer.sentence
        with RawPeer(node.port) as peer:
            peer.associate({1: (CT, ["1.2.840.10008.1.2"])})
            assert peer.store(1, CT, "1.2.3", small_data_set()) == 0


def test_required_client_certificates_without_an_authority_are_a_configuration_error(certificates: Path) -> None:
    settings = ListenTlsSettings(certificate=certificates / "server.pem", key=certificates / "server.key")
    with pytest.raises(ConfigurationError, match=r"listen\.tls\.trusted"):
        server_context(settings)
    files = {**tls(certificates, "server").model_dump(), "key": certificates / "client.key"}
    with pytest.raises(ConfigurationError, match=r"listen\.tls"):
        server_context(ListenTlsSettings(**files))
