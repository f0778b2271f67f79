from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from pipeline.agents.app import make_app
from pipeline.settings import Settings, SettingsError
from pipeline.wire.kafka import connection

USER = {"kafka_username": "fieldline", "kafka_password": "hunter2"}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"kafka_security": "SSL"},
        {"kafka_security": "SASL_PLAINTEXT", **USER},
        {"kafka_security": "SASL_SSL", "kafka_sasl_mechanism": "SCRAM-SHA-512", **USER},
    ],
)
def test_faust_gets_in_the_same_way_as_our_own_clients(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    settings = Settings(data_dir=tmp_path, **given)
    ours = connection(settings)
    app = make_app(settings, role="fanout", instance=0)
    fausts = credentials_to_aiokafka_auth(app.conf.broker_credentials, None)
    assert (ours["ssl_context"] is None) is (fausts.get("ssl_context") is None)
    names = ("security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
    assert {n: ours.get(n) for n in names} == {n: fausts.get(n) for n in names}
    assert "hunter2" not in repr(settings)


def test_tls_verifies_certificates_and_names() -> None:
    context = connection(Settings(kafka_security="SSL"))["ssl_context"]
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kafka_security": "SASL_SSL"}, "KAFKA_USERNAME and KAFKA_PASSWORD"),
        ({"kafka_security": "SSL", "kafka_ca_file": "no/such.pem"}, "KAFKA_CA_FILE no/such.pem"),
    ],
)
def test_what_is_missing_is_told(given: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        connection(Settings(**given))
