"""A Salesforce org in the test's own process, settings, and a key for JWTs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.salesforce.config import SalesforceSettings
from connectors.settings import make as make_settings
from tests.contract.cases.salesforce import CASE
from tests.contract.world import World
from tests.sandboxes.box import boxed
from tests.sandboxes.salesforce import CLIENT_ID, CLIENT_SECRET, Salesforce

URL = "https://acme.my.salesforce.com"


@cache
def key_pair() -> tuple[str, str]:
    """A private and its public RSA key, PEM."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def settings(**values: Any) -> SalesforceSettings:  # noqa: ANN401 - settings
    """Settings for an org that nobody asks."""
    given = {"url": URL, "client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, **values}
    return make_settings(SalesforceSettings, given)


@dataclass
class Org:
    """A far end whose records can be reached: as a person's browser, or a flow, would."""

    world: World
    sandbox: Salesforce

    def cases(self) -> list[dict[str, Any]]:
        """All Cases."""
        return self.sandbox.rest.store.live("Case")

    def case(self) -> dict[str, Any]:
        """The only Case."""
        [found] = self.cases()
        return found

    def edit(self, **values: str) -> None:
        """A person changes the only Case."""
        self.sandbox.rest.store.update("Case", self.case()["Id"], values)

    def add(self, name: str, **values: str) -> str:
        """A record that a person makes; its Id."""
        return str(self.sandbox.rest.store.create(name, values)["Id"])

    def steps(self) -> list[str]:
        """What was called, tokens apart."""
        return [call.step for call in self.world.calls if call.step != "token"]


@contextmanager
def org(public_key: str = "") -> Iterator[Org]:
    """An empty org, served."""
    sandbox = Salesforce(public_key)
    with boxed(sandbox) as far:
        yield Org(World(CASE, far), sandbox)
