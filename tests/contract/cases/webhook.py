"""The webhook in the contract suite."""

from __future__ import annotations

from tests.contract.case import Case, Cause, Means, Trait
from tests.sandboxes.box import boxed
from tests.sandboxes.webhook import API_KEY, SECRET, make

_AS_IT_IS = "an event is told as it is, each under its own key; what it changes is the receiver's"

CASE = Case(
    name="webhook",
    start=lambda: boxed(make()),
    values=lambda far: {
        "url": f"{far.url}/events",
        "look_up_url": f"{far.url}/events/{{key}}",
        "secret": SECRET,
        "headers": {"X-Api-Key": API_KEY},
    },
    bad_values=lambda _: {"secret": "another-secret-than-the-receivers"},
    kind="event",
    write=("POST", "^/events$"),
    codes={
        "400": (Means.REJECTED, "webhook.bad_request"),
        "413": (Means.REJECTED, "webhook.too_large"),
        "422": (Means.REJECTED, "webhook.unprocessable"),
        "404": (Means.REJECTED, "webhook.not_found"),
        "410": (Means.REJECTED, "webhook.gone"),
        "409": (Means.ITEM, "webhook.conflict"),
        "401": (Means.SYSTEM, "webhook.credentials"),
        "403": (Means.SYSTEM, "webhook.credentials"),
        "408": (Means.SYSTEM, "webhook.timeout"),
        "425": (Means.SYSTEM, "webhook.too_early"),
        "429": (Means.SYSTEM, "webhook.rate_limit"),
        "500": (Means.SYSTEM, "webhook.server_error"),
        "507": (Means.SYSTEM, "webhook.server_error"),
        "502": (Means.SYSTEM, "webhook.bad_gateway"),
        "503": (Means.SYSTEM, "webhook.unavailable"),
        "504": (Means.SYSTEM, "webhook.gateway_timeout"),
        "418": (Means.UNKNOWN, "webhook.unexpected_status"),
    },
    faults=(
        Cause(fault={"mode": "html"}, means=Means.UNKNOWN, code="webhook.web_page"),
        Cause(fault={"status": 302}, means=Means.REJECTED, code="webhook.redirect"),
    ),
    unseen={
        "webhook.no_word": "only a batch can leave an event out: test_webhook_deliver.py",
    },
    lacks={
        Trait.UPDATE: _AS_IT_IS,
        Trait.CLOSE: _AS_IT_IS,
        Trait.REOPEN: _AS_IT_IS,
        Trait.EXPIRY: "each request is signed by itself: there is no session",
        Trait.PERSONAL: "a CloudEvent of ours has ids and no names; test_webhook_template.py",
    },
)
