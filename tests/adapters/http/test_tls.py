"""HTTPS from end to end, and a server on an address of the network."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest

import sagalog
from sagalog_http import Application, Server, Tokens
from tests.adapters.http.served import PATIENCE_S, ROUTES

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the command openssl")


def certified(folder: Path, address: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a server with a new certificate for an address, and of a client that trusts it."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=sagalog", "-addext", f"subjectAltName=IP:{address}"]
    outputs = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-nodes",
            "-days",
            "1",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            *outputs,
            *subject,
        ],
        check=True,
        capture_output=True,
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


def address_of_the_network() -> str | None:
    """The address that this machine has on a network; None: it is on none. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(probe.getsockname()[0])
    return None if ip_address(found).is_loopback or found == "0.0.0.0" else found  # noqa: S104  compared, not bound


@needs_openssl
@pytest.mark.parametrize("where", ["loopback", "network"])
def test_a_server_with_a_certificate_answers_by_https_alone(tmp_path: Path, engine: sagalog.Engine, where: str) -> None:
    """[HTTP-10] On an address of the network it starts by a token and TLS, without a word more."""
    address = "127.0.0.1" if where == "loopback" else address_of_the_network()
    if address is None:
        pytest.skip("this machine has no address but those of loopback")
    for_server, for_client = certified(tmp_path, address)
    headers = {"authorization": f"Bearer {Tokens(engine).create('ann', ['read'])[1]}"}
    server = Server(Application(ROUTES, engine), address, 0, tls=for_server)
    server.start_in_thread()
    try:
        assert server.url == f"https://{address}:{server.address[1]}"
        assert server.application.authenticator.is_loopback == (where == "loopback")
        with httpx.Client(base_url=server.url, verify=for_client, timeout=PATIENCE_S) as client:
            assert client.get("/who", headers=headers).json().items() >= {"token": "ann"}.items()
            assert client.get("/who").status_code == 401
            assert client.get("/page", headers={"origin": server.url}).status_code == 200
        with httpx.Client(timeout=PATIENCE_S) as stranger, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
            stranger.get(f"{server.url}/page")
        with httpx.Client(timeout=PATIENCE_S) as plain, pytest.raises(httpx.TransportError):
            plain.get(f"http://{address}:{server.address[1]}/page", headers=headers)
    finally:
        server.stop_thread()
