"""What must not go out: personal data, other regions, secrets."""

from __future__ import annotations

import json
from itertools import product

from connectors import registry
from connectors.fields import Policy
from connectors.settings import make as make_settings
from connectors.sources import Care
from pipeline.core.outcome import Rejected
from tests.contract.case import Means, means
from tests.contract.world import World, event

SECRET_WORDS = ("authorization", "cookie")


async def test_personal_data_stays_here_where_the_policy_withholds_it(world: World) -> None:
    if not registry.system(world.case.name).objects:
        return
    policy = Policy(withheld=frozenset({Care.PERSONAL.value}))
    outcomes = await world.deliver(event(), connector=world.connector(policy))
    told = json.dumps(world.far.journal(), ensure_ascii=False)
    assert world.case.record.customer_name not in told
    assert world.case.record.customer_tax_id not in told
    assert means(outcomes[0]) in {Means.DELIVERED, Means.REJECTED}


async def test_an_asset_of_another_region_is_not_sent(world: World) -> None:
    if not registry.system(world.case.name).objects:
        return
    policy = Policy(regions=frozenset({"us"}))
    [outcome] = await world.deliver(event(), connector=world.connector(policy))
    assert isinstance(outcome, Rejected)
    assert outcome.code == "mapping.region"
    assert not world.writes()


async def test_no_secret_is_in_what_is_told_of_an_answer_that_repeats_the_request(
    world: World,
) -> None:
    settings = make_settings(registry.system(world.case.name).settings, world.values())
    places = (world.case.on_write(), {"path": ""})
    for place, status in product(places, (200, 400, 401, 403, 500)):
        world.far.faults({**place, "mode": "echo", "status": status, "times": None})
        [outcome] = await world.deliver(event())
        told = repr(outcome)
        sent = [
            value
            for call in world.calls
            for name, value in call.request.headers.items()
            if name.lower() in SECRET_WORDS
        ]
        for secret in (*settings.secrets(), *sent):
            assert secret not in told
    assert not [text for text in settings.secrets() if text in repr(settings)]
