"""Tryton as the registry knows it."""

from __future__ import annotations

from collections.abc import Callable

from connectors.base import Connector, Effect
from connectors.fields import Policy
from connectors.system import CallSpec, MapSpec, System, reads
from connectors.tryton.answers import rows
from connectors.tryton.config import TrytonSettings
from connectors.tryton.mapping import ASSET, CUSTOMER, EQUIPMENT, LEAD, ORDER
from connectors.tryton.protocol import TrytonConnector

_LOOK = "looked up before anything is sent again, twice, after the target's own time-out"
_LOWEST = "looked up before; of two made at one instant the lowest id counts, for everybody"
_READS = (
    ("login", "common.db.login"),
    ("preferences", "model.res.user.get_preferences"),
    ("company", "model.company.company.search_read"),
    ("rights", "model.ir.model.access.get_access"),
    ("sentence_id", "model.ir.model.data.get_id"),
    ("sentence", "model.ir.message.read"),
    ("look_up", "model.project.work.search_read"),
    ("read_order", "model.project.work.search_read"),
    ("list_orders", "model.project.work.search_read"),
    ("done_status", "model.project.work.status.search_read"),
    ("open_status", "model.project.work.status.search_read"),
    ("find_customer", "model.party.party.search_read"),
    ("find_site", "model.party.address.search_read"),
    ("find_asset", "model.product.product.search_read"),
    ("find_product", "model.product.product.search_read"),
    ("find_unit", "model.product.uom.search_read"),
    ("find_lead", "model.sale.opportunity.search_read"),
)


def _make(settings: TrytonSettings, policy: Policy, clock: Callable[[], float]) -> Connector:
    del clock  # Retry-After comes in seconds from Tryton's neighbours
    return TrytonConnector(settings, policy)


def _write(
    step: str, model: str, method: str, effect: Effect, key: str, once: str, unknown: str
) -> CallSpec:
    return CallSpec(
        step=step,
        request=f"POST /{{database}}/rpc/ model.{model}.{method}",
        effect=effect,
        key=key,
        once=once,
        unknown=unknown,
    )


SYSTEM = System(
    name="tryton",
    title="Tryton",
    settings=TrytonSettings,
    make=_make,
    objects={
        "project.work (task)": MapSpec(
            canonical="ServiceOrder",
            fields=ORDER,
            owner="Tryton, once it is there",
            conflict="a change is written only on what it was read as (timestamps): a line more; "
            "what nobody works on is closed, what we closed is opened again",
        ),
        "project.work (project)": MapSpec(
            canonical="Asset",
            fields=EQUIPMENT,
            owner="Tryton",
            conflict="made where it is missing, never changed; of another customer's: rejected",
        ),
        "party.party": MapSpec(
            canonical="Customer",
            fields=CUSTOMER,
            owner="Tryton",
            conflict="made where it is missing, never changed",
        ),
        "product.product": MapSpec(
            canonical="Product",
            fields=ASSET,
            owner="Tryton",
            conflict="made where it is missing and TRYTON_ASSETS is on, never changed",
        ),
        "sale.opportunity": MapSpec(
            canonical="Order",
            fields=LEAD,
            owner="Tryton",
            conflict="made once for a trouble that TRYTON_LEAD_SEVERITY names, never changed",
        ),
    },
    calls=(
        _write(
            *("create_order", "project.work", "create", Effect.WRITE),
            "FL-<event id>, at the beginning of the name",
            "looked up by key before each create",
            _LOOK,
        ),
        _write(
            *("change_order", "project.work", "write", Effect.KEYED_WRITE),
            "[FL-<event id>], at the end of a line of the comment",
            "the order's timestamp goes along: Tryton writes only what it still is",
            "sent again at once, which reads again first",
        ),
        _write(
            *("create_customer", "party.party", "create", Effect.KEYED_WRITE),
            "the customer's id, as code",
            "party code is unique in Tryton",
            "sent again at once",
        ),
        _write(
            *("create_site", "party.address", "create", Effect.WRITE),
            "party, and the site as building name",
            _LOWEST,
            "the order was not sent: found, or made, the next time",
        ),
        _write(
            *("create_equipment", "project.work", "create", Effect.WRITE),
            "the asset's id, at the beginning of the name",
            _LOWEST,
            "the order was not sent: found, or made, the next time",
        ),
        _write(
            *("create_asset", "product.template", "create", Effect.KEYED_WRITE),
            "the asset's id, as code",
            "the code is unique by an exclusion constraint on PostgreSQL; elsewhere the lowest id "
            "counts",
            "the order was not sent: found, or made, the next time",
        ),
        _write(
            *("create_lead", "sale.opportunity", "create", Effect.WRITE),
            "FL-<id of the event that raised it>, as reference",
            "looked up by reference before each create",
            _LOOK,
        ),
        *(reads(step, f"POST /{{database}}/rpc/ {method}") for step, method in _READS),
    ),
    answers=rows(),
    unsure=("the exclusion constraint on product codes was read in its source: SQLite has none",),
)
