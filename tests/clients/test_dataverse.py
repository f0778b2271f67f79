"""Microsoft's official Python client against our Dataverse, over TLS: it takes nothing less."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.clients.runner import run
from tests.sandboxes.dynamics import CLIENT_ID, CLIENT_SECRET, TENANT, Dynamics, make
from tests.sandboxes.serve import Protocol, listen
from tests.waiting import blocking_until


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(loopback, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "cert.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Dynamics, Path]]:
    sandbox, sock = make(), listen()
    public, private = certificate(tmp_path)
    sandbox.base = f"https://127.0.0.1:{sock.getsockname()[1]}"
    config = uvicorn.Config(
        sandbox,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=public,
        ssl_keyfile=private,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[sock])), name="dataverse", daemon=True
    )
    thread.start()
    try:
        blocking_until(lambda: server.started, within_s=20)
        yield sandbox, public
    finally:
        server.should_exit = True
        thread.join(20)
        sock.close()


def test_the_official_client_creates_reads_updates_queries_upserts_and_deletes(
    served: tuple[Dynamics, Path],
) -> None:
    sandbox, public = served
    said = run(
        "dataverse_script",
        url=sandbox.base,
        certificate=str(public),
        tenant=TENANT,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
    )
    assert said["got"]["name"] == "Contoso"
    assert said["got"]["industrycode"] == 2, "a label became its number, from the metadata"
    assert said["queried"] == ["Contoso & Söhne"]
    assert said["many"] == 3
    assert said["pages"] == [2, 2, 1]
    [case] = said["cases"]
    assert (case["title"], case["statecode"]) == ("Raised by the client", 0)
    assert said["batch"] == [[204, None], [400, "0x80044331"], [204, None]]
    assert said["change_set"] == [[400, "0x80044331"]]
    assert said["missing"] is None
    assert said["gone"] == 404
    assert said["unknown_column"] == "0x80048d19"
    assert said["keys"] == [["fieldline_key"]]
    names = [row.get("name") for row in sandbox.store.rows["account"].values()]
    assert "After it" in names
    assert "Rolled back" not in names
    told = [(e.op, e.kind, e.key) for e in sandbox.journal.effects if e.kind == "incident"]
    assert told == [("create", "incident", "by-client")]
