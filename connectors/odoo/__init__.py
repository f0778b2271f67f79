"""Odoo: events become maintenance requests, assets equipment, changes notes on the request."""
