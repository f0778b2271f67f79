"""Make a Tryton database ready for the pipeline: currency, company, and a user with few rights.

Run as `python -m infra.local.tryton_setup DATABASE ADMIN_PASSWORD_FILE PASSWORD_FILE` with
TRYTOND_CONFIG pointing at the server's configuration: it uses Tryton's own models in its own
process, so it needs no running server. It may be run again: what is there stays, and the two
passwords become those in the files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from trytond.pool import Pool
from trytond.transaction import Transaction

USER = "fieldline"
COMPANY = "Fieldline Service"
GROUP = "Fieldline connector"
MODELS = {
    "project.work": True,
    "party.party": False,
    "product.template": False,
    "sale.opportunity": False,
}
"""What the user may read and create, never delete, and whether it may change it: a cleared
anomaly closes its order. Identifiers and addresses follow their party, products their template
(Model.__access__ in trytond/modules)."""

_ROOT = 1
"""Id of the user that trytond/res/user.xml makes first, 'admin'."""


def _one(model: str, domain: list[Any], values: dict[str, Any]) -> Any:  # noqa: ANN401 - trytond has no types
    """The record of that model in that domain, made from the values where there is none."""
    records = Pool().get(model).search(domain, limit=1)
    return records[0] if records else Pool().get(model).create([values])[0]


def _company() -> Any:  # noqa: ANN401 - trytond has no types
    currency = _one(
        "currency.currency",
        [("code", "=", "EUR")],
        {"name": "Euro", "symbol": "€", "code": "EUR", "numeric_code": "978"},
    )
    party = _one("party.party", [("code", "=", "COMPANY")], {"code": "COMPANY", "name": COMPANY})
    return _one(
        "company.company",
        [("party", "=", party.id)],
        {"party": party.id, "currency": currency.id},
    )


def _group() -> Any:  # noqa: ANN401 - trytond has no types
    """A group of our own: Tryton's project administration may also delete."""
    group = _one("res.group", [("name", "=", GROUP)], {"name": GROUP})
    for model, may_change in MODELS.items():
        rights = {
            "perm_read": True,
            "perm_create": True,
            "perm_write": may_change,
            "perm_delete": False,
        }
        access = _one(
            "ir.model.access",
            [("model", "=", model), ("group", "=", group.id)],
            {"model": model, "group": group.id, **rights},
        )
        # An earlier version of this may have made it, with other rights.
        Pool().get("ir.model.access").write([access], rights)
    return group


def setup(*, admin_password: str, password: str) -> None:
    """Everything of the above, in the current transaction."""
    company, group = _company(), _group()
    user = _one(
        "res.user",
        [("login", "=", USER)],
        {
            "name": "Fieldline connector",
            "login": USER,
            "groups": [("add", [group.id])],
            "companies": [("add", [company.id])],
            "company": company.id,
            "company_filter": "one",
        },
    )
    users = Pool().get("res.user")
    users.write([user], {"password": password}, [users(_ROOT)], {"password": admin_password})


def main(database: str, admin_password_file: str, password_file: str) -> None:
    """Set the database up, in one transaction."""
    Pool.start()
    with Transaction().start(database, 0, readonly=True):
        Pool(database).init()
    with Transaction().start(database, _ROOT, context={}) as transaction:
        setup(
            admin_password=Path(admin_password_file).read_text(encoding="utf-8").strip(),
            password=Path(password_file).read_text(encoding="utf-8").strip(),
        )
        transaction.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
