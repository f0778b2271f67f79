"""A Salesforce org in the test's own process, settings, and a key for JWTs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from connectors.base import Delivery, Reply
from connectors.fields import OPEN
from connectors.salesforce.config import SalesforceSettings
from connectors.salesforce.protocol import SalesforceConnector
from connectors.settings import make as make_settings
from pipeline.core.events import BusinessEvent
from pipeline.core.outcome import Outcome
from tests.contract.case import RECORD
from tests.contract.cases.salesforce import CASE
from tests.contract.conversation import converse
from tests.contract.world import World
from tests.sandboxes.box import boxed
from tests.sandboxes.salesforce import CLIENT_ID, CLIENT_SECRET, Salesforce

ID = "500000000000001AAA"
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

    async def deliver(self, told: BusinessEvent, **values: Any) -> Outcome:  # noqa: ANN401 - settings
        """One event's outcome, with these settings."""
        [outcome] = await self.world.deliver(told, connector=self.world.connector(**values))
        return outcome

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


@pytest.fixture
def there() -> Iterator[Org]:
    """An empty org. A module takes it by assignment: an imported name would be shadowed."""
    with org() as made:
        yield made


def talk(
    told: list[BusinessEvent],
    *replies: Reply,
    **values: Any,  # noqa: ANN401 - settings
) -> tuple[Any, Any]:
    """A delivery of these with those replies, after a token: the outcomes, and its calls."""
    made = SalesforceConnector(settings(**values), OPEN, lambda: 0.0)
    deliveries = [Delivery(event=one, key=one.id, record=RECORD) for one in told]
    token = httpx.Response(200, json={"access_token": "00D!t"})
    return converse(made.deliver(deliveries), [token, *replies])


def rows(*found: dict[str, Any]) -> httpx.Response:
    """The answer to a query."""
    return httpx.Response(200, json={"records": list(found), "done": True})


def row(told: BusinessEvent, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - fields
    """That event's Case, as a query shows it."""
    return {"Id": ID, "Fieldline_Key__c": told.entity, "Status": "New", **more}


READ = rows()
"""Nothing is there."""
