import socket

import pytest

from connectors import registry
from connectors.settings import variables
from infra.local.outside import addresses, check, values
from infra.local.part import StackError
from infra.local.parts import PARTS
from infra.local.ports import LOOPBACK
from pipeline.settings import Settings


@pytest.mark.parametrize(
    ("value", "servers"),
    [
        ("one:9092,two:19092", [("one", 9092), ("two", 19092)]),
        ("broker", [("broker", 9092)]),
        ("mqtts://user:pass@host", [("host", 8883)]),
        ("redis://:p%40ss@[::1]:6380/0", [("::1", 6380)]),
        ("https://s3.example.com", [("s3.example.com", 443)]),
    ],
)
def test_servers_are_read_from_urls_and_from_kafkas_list(
    value: str, servers: list[tuple[str, int]]
) -> None:
    assert addresses(value) == servers


@pytest.mark.parametrize("value", ["", " , ", "redis://", "ftp://host", "host:notaport"])
def test_what_names_no_server_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        addresses(value)


def test_a_server_that_listens_is_accepted_even_as_the_second_of_a_list() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        check("kafka", "KAFKA_BOOTSTRAP", f"{LOOPBACK}:1,{LOOPBACK}:{port}")


def test_a_server_that_does_not_is_named_with_the_mend_and_no_password() -> None:
    with pytest.raises(StackError, match=f"{LOOPBACK}:1: .*unset REDIS_URL") as caught:
        check("redis", "REDIS_URL", f"redis://:secret@{LOOPBACK}:1/0")
    assert "secret" not in str(caught.value)
    with pytest.raises(StackError, match="REDIS_URL names no server") as caught:
        check("redis", "REDIS_URL", "redis://:secret@host:port/0")
    assert "secret" not in str(caught.value)


def test_the_first_variable_decides_and_the_others_go_with_it() -> None:
    names = ("S3_ENDPOINT", "S3_BUCKET", "S3_REGION")
    assert values(names, {"S3_BUCKET": "mine"}) is None
    assert values(names, {"S3_ENDPOINT": "", "S3_BUCKET": "mine"}) is None
    assert values(names, {"S3_ENDPOINT": "http://x", "S3_BUCKET": "mine", "HOME": "/"}) == {
        "S3_ENDPOINT": "http://x",
        "S3_BUCKET": "mine",
    }


def test_every_variable_of_a_part_is_one_the_settings_read() -> None:
    known = set()
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        known |= {alias} if isinstance(alias, str) else set(getattr(alias, "choices", ()))
    for name in registry.names():
        known |= set(variables(registry.system(name).settings))
    assert {name for spec in PARTS for name in spec.variables} <= known
