"""Odoo 19: JSON-2 and the legacy JSON-RPC over one small ORM. Sources: odoo/odoo, branch 19.0."""

from tests.sandboxes.odoo.orm import Orm
from tests.sandboxes.odoo.server import API_KEY, DATABASE, LOGIN, READER, READER_KEY, Odoo

__all__ = ["API_KEY", "DATABASE", "LOGIN", "READER", "READER_KEY", "Odoo", "Orm", "make"]


def make() -> Odoo:
    """With the standard credentials."""
    return Odoo()
