"""The objects of the canonical model, and their fields. Data only."""

from __future__ import annotations

from typing import Final

from pipeline.core.canonical import Care, Field, Kind, Object
from pipeline.core.canonical_fields import amount_, choice_, id_, number_, ref_, text_, time_

MAP = "identity.map"
EVENTS = "events.business"
_NEWER = "the newer change of the system of record holds; others are read only"
_ERP = "ERP"
_MAP_RECORD = "identity map"


_CURRENCY = Field(name="currency", doc="ISO 4217, three letters", required=True, care=Care.BUSINESS)
_IDS = Field(name="ids", doc="What other systems call it", kind=Kind.IDS, stored="ids")
_RETIRED = time_("retired_at", "Since when it is out of service", stored="retired_at_ms")

DEVICE = Object(
    name="Device",
    doc="What sends readings",
    record=_MAP_RECORD,
    key="tenant/device, as it is in the MQTT topic; never used again",
    conflict="one writer at a time; what was recorded of the past changes only when it is meant",
    carried=MAP,
    fields=(
        id_("tenant/device", stored="id"),
        text_("class", "Class, which rules go by", stored="device_class"),
        _IDS,
        _RETIRED,
    ),
)
ASSET = Object(
    name="Asset",
    doc="What a customer owns and a device is mounted on",
    record="identity map; its master data in the ERP",
    key="our asset id (a serial number, say); equipment numbers of ERPs are ids",
    conflict=DEVICE.conflict,
    carried=MAP,
    fields=(
        id_("Id", stored="id"),
        text_("name", "Name for people", stored="name"),
        Field(name="devices", doc="Every device it ever had", kind=Kind.LIST, stored="devices"),
        _IDS,
        _RETIRED,
    ),
)
INSTALLATION = Object(
    name="Installation",
    doc="A device was on an asset, from when to when",
    record=_MAP_RECORD,
    key="device and beginning; one asset at a time, and one device on it at a time",
    conflict=DEVICE.conflict,
    carried=MAP,
    fields=(
        ref_("device", "Device", "The device", stored="id"),
        ref_("asset", "Asset", "The asset", stored="periods.of"),
        time_("from", "First instant; 0 = since ever", stored="periods.from_ms", required=True),
        time_("to", "First instant after it; none = it lasts", stored="periods.to_ms"),
    ),
)
OWNERSHIP = Object(
    name="Ownership",
    doc="An asset was a customer's, from when to when: an event goes to the owner of its time",
    record=_MAP_RECORD,
    key="asset and beginning; one owner at a time",
    conflict=DEVICE.conflict,
    carried=MAP,
    fields=(
        ref_("asset", "Asset", "The asset", stored="id"),
        ref_("customer", "Customer", "The owner", care=Care.BUSINESS, stored="periods.of"),
        ref_(
            "site",
            "Site",
            "Where the owner has it",
            care=Care.BUSINESS,
            stored="periods.site",
            required=False,
        ),
        text_("region", "Where its data may go", care=Care.BUSINESS, stored="periods.region"),
        time_("from", "First instant; 0 = since ever", stored="periods.from_ms", required=True),
        time_("to", "First instant after it; none = it lasts", stored="periods.to_ms"),
    ),
)
CUSTOMER = Object(
    name="Customer",
    doc="Who owns assets and gets the service",
    record="CRM for the account, ERP for the debtor; the identity map ties them",
    key="our customer id; accounts and customer numbers are ids",
    conflict="name and tax number as the identity map has them; a system's own fields stay its own",
    carried=MAP,
    fields=(
        id_("Id", stored="id", care=Care.BUSINESS),
        text_("name", "Name", care=Care.PERSONAL, stored="name"),
        text_("tax_id", "Tax number, as given", care=Care.PERSONAL, stored="tax_id"),
        _IDS,
        _RETIRED,
    ),
)
SITE = Object(
    name="Site",
    doc="A place where assets stand",
    record=_ERP,
    key="our site id; a functional location is an id, which assets may share",
    conflict=_NEWER,
    carried=MAP,
    fields=(
        id_("Id", stored="periods.site", care=Care.BUSINESS),
        text_("name", "Name", care=Care.BUSINESS),
        ref_("customer", "Customer", "Whose place it is", care=Care.BUSINESS, required=False),
        number_("latitude", "deg", "WGS 84, north positive", care=Care.BUSINESS),
        number_("longitude", "deg", "WGS 84, east positive", care=Care.BUSINESS),
        text_("region", "Where its data may go", care=Care.BUSINESS),
    ),
)
EVENT = Object(
    name="Event",
    doc="Something a business acts on, made by detection",
    record="Fieldline",
    key="deterministic id (ADR 6), the idempotency key at every system",
    conflict="never changed; a later event of the same entity updates or clears it",
    carried=EVENTS,
    fields=(
        text_("key", "Idempotency key: the event's id", required=True),
        text_("entity", "Key of the event that raised it", required=True),
        text_("version", "Place among its device's events: a later one is greater, as text"),
        text_("type", "Type, e.g. fieldline.limit.exceeded", required=True),
        text_("tenant", "Tenant", required=True),
        choice_("action", "raise, update or clear"),
        choice_("severity", "info, warning or critical"),
        number_("confidence", "1", "Probability that it is real, 0 to 1"),
        text_("summary", "One line for a person"),
        text_("text", "What was measured, in lines"),
        Field(
            name="snapshot",
            doc="All readings of the sample that raised it, with their baselines",
            kind=Kind.LIST,
        ),
        text_("detector", "Detector that raised it"),
        text_("metric", "Metric that raised it"),
        text_("rule", "Rule and version"),
        text_("correlation", "Shared by one asset's trouble"),
        time_("occurred_at", "When it was measured", required=True),
        time_("observed_at", "When it came to the bridge", required=True),
        Field(name="open", doc="Whether it lasts", kind=Kind.FLAG),
    ),
)
SERVICE_ORDER = Object(
    name="ServiceOrder",
    doc="Work on an asset: a notification, case, ticket or maintenance order",
    record="the ERP or CRM that it is raised in, once it is there",
    key="the raising event's key, kept at the target as its external reference",
    conflict="ours: text, priority up, closing what nobody worked on; all else is the target's",
    fields=(
        id_("The target's own number"),
        ref_("event", "Event", "What raised it"),
        ref_("asset", "Asset", "What it is about"),
        ref_("customer", "Customer", "Whose it is", care=Care.BUSINESS),
        text_("title", "One line", required=True),
        text_("text", "What was measured"),
        choice_("priority", "critical, high, medium or low"),
        choice_("status", "open, in work, done or cancelled"),
        time_("raised_at", "When the trouble began"),
        time_("due_at", "When it is to be done"),
        time_("closed_at", "When it was closed"),
    ),
)
OPPORTUNITY = Object(
    name="Opportunity",
    doc="A chance to sell work or parts, found in an asset's trouble",
    record="CRM, or the ERP's sales",
    key="the raising event's key, kept at the target as its external reference",
    conflict="made once and never changed by us: it is a salesperson's",
    fields=(
        id_("The target's own number"),
        ref_("event", "Event", "What raised it"),
        ref_("asset", "Asset", "What it is about"),
        ref_("customer", "Customer", "Whose it is", care=Care.BUSINESS),
        text_("title", "One line", required=True),
        text_("text", "What was measured"),
        choice_("stage", "lead, opportunity, won or lost"),
        time_("opened_at", "When it was made"),
    ),
)
DOCUMENT = Object(
    name="Document",
    doc="A service report, or a snapshot of readings, with its metadata",
    record="DMS",
    key="the event's key and the kind of document, as metadata of the document",
    conflict="a new version; none is overwritten",
    fields=(
        id_("The DMS's own id"),
        ref_("event", "Event", "What it belongs to", required=False),
        ref_("asset", "Asset", "What it is about"),
        choice_("kind", "service report or telemetry snapshot"),
        text_("media_type", "RFC 6838"),
        text_("version", "Version in the DMS"),
        text_("retention", "Retention class"),
        number_("size", "B", "Length"),
        text_("sha256", "SHA-256 of the content, hex"),
        time_("made_at", "When it was made"),
    ),
)
DRIVER = Object(
    name="Driver",
    doc="A person who drives or operates an asset",
    record="HR or fleet system",
    key="our driver id; never a name or a licence number",
    conflict=_NEWER,
    fields=(
        id_("Id", care=Care.PERSONAL),
        text_("name", "Name", care=Care.PERSONAL),
        text_("licence", "Licence class", care=Care.PERSONAL),
        ref_("customer", "Customer", "Employer", care=Care.BUSINESS),
        Field(name="active", doc="Whether at work", kind=Kind.FLAG, care=Care.PERSONAL),
    ),
)
TRIP = Object(
    name="Trip",
    doc="A journey or job of an asset",
    record="fleet or transport system",
    key="its id there, with the tenant",
    conflict="telemetry holds for what was measured, the fleet system for what was planned",
    fields=(
        id_("Id"),
        ref_("asset", "Asset", "What went"),
        ref_("driver", "Driver", "Who drove", care=Care.PERSONAL, required=False),
        ref_("order", "Order", "For which order", care=Care.BUSINESS, required=False),
        choice_("status", "planned, under way, done or cancelled"),
        time_("began_at", "First movement"),
        time_("ended_at", "Last movement"),
        number_("distance", "m", "Way by the odometer"),
        number_("energy", "J", "Energy used"),
    ),
)
FUEL = Object(
    name="FuelTransaction",
    doc="Fuel or energy bought for an asset",
    record="fuel card provider",
    key="the provider's transaction number, with the provider",
    conflict="never changed; a correction is a transaction of its own",
    fields=(
        id_("The provider's number"),
        ref_("asset", "Asset", "For what"),
        ref_("driver", "Driver", "By whom", care=Care.PERSONAL, required=False),
        time_("at", "When", required=True),
        choice_("product", "diesel, petrol, gas or electricity"),
        number_("volume", "m³", "Volume; none for electricity"),
        number_("energy", "J", "Energy, for electricity"),
        amount_("amount", "Price with tax"),
        _CURRENCY,
        text_("place", "Station", care=Care.PERSONAL),
    ),
)
PRODUCT = Object(
    name="Product",
    doc="A part or service that is sold or used",
    record=_ERP,
    key="the ERP's item number",
    conflict=_NEWER,
    fields=(
        id_("Item number"),
        text_("name", "Name", required=True),
        text_("unit", "Unit it is counted in: UN/ECE Recommendation 20"),
        amount_("price", "List price of one unit"),
        _CURRENCY,
        Field(name="active", doc="Whether it is sold", kind=Kind.FLAG),
    ),
)
ORDER = Object(
    name="Order",
    doc="A customer's order for products",
    record=_ERP,
    key="the ERP's order number; ours by external reference",
    conflict=_NEWER,
    fields=(
        id_("Order number", care=Care.BUSINESS),
        ref_("customer", "Customer", "Who ordered", care=Care.BUSINESS),
        ref_("service_order", "ServiceOrder", "For which work", required=False),
        choice_("status", "draft, confirmed, done or cancelled"),
        time_("ordered_at", "When"),
        Field(name="lines", doc="Product, quantity, price", kind=Kind.LIST, care=Care.BUSINESS),
        amount_("total", "Sum without tax"),
        _CURRENCY,
    ),
)
INVOICE = Object(
    name="Invoice",
    doc="A bill for an order",
    record=_ERP,
    key="the ERP's invoice number; no gaps, never changed",
    conflict="never changed; a credit note is an invoice of its own",
    fields=(
        id_("Invoice number", care=Care.BUSINESS),
        ref_("order", "Order", "For which order", care=Care.BUSINESS),
        ref_("customer", "Customer", "Who pays", care=Care.BUSINESS),
        time_("issued_at", "When"),
        time_("due_at", "Until when it is to be paid"),
        amount_("total", "Sum with tax"),
        amount_("tax", "Tax in it"),
        _CURRENCY,
        choice_("status", "open, paid, cancelled"),
    ),
)
PAYMENT = Object(
    name="Payment",
    doc="Money that came in for an invoice",
    record=_ERP,
    key="the bank's reference, with the account",
    conflict="never changed; a return is a payment of its own",
    fields=(
        id_("Reference", care=Care.BUSINESS),
        ref_("invoice", "Invoice", "For which invoice", care=Care.BUSINESS),
        time_("at", "Value date", required=True),
        amount_("amount", "How much"),
        _CURRENCY,
        choice_("method", "transfer, card or direct debit"),
    ),
)
SHIPMENT = Object(
    name="Shipment",
    doc="Parts on their way to a site",
    record="ERP or carrier",
    key="the carrier's tracking number, with the carrier",
    conflict="the carrier holds for where it is, the ERP for what is in it",
    fields=(
        id_("Tracking number", care=Care.BUSINESS),
        ref_("order", "Order", "For which order", care=Care.BUSINESS),
        ref_("site", "Site", "Where to", care=Care.BUSINESS),
        text_("carrier", "Carrier", care=Care.BUSINESS),
        choice_("status", "packed, under way, delivered or lost"),
        number_("mass", "kg", "Gross mass"),
        time_("sent_at", "When it left"),
        time_("delivered_at", "When it came"),
    ),
)

OBJECTS: Final[tuple[Object, ...]] = (
    DEVICE,
    ASSET,
    INSTALLATION,
    OWNERSHIP,
    CUSTOMER,
    SITE,
    EVENT,
    SERVICE_ORDER,
    OPPORTUNITY,
    DOCUMENT,
    DRIVER,
    TRIP,
    FUEL,
    PRODUCT,
    ORDER,
    INVOICE,
    PAYMENT,
    SHIPMENT,
)
BY_NAME: Final = {one.name: one for one in OBJECTS}
