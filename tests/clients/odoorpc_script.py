"""OdooRPC, as its users write it. Input: host, port, database, login, password."""

from __future__ import annotations

import json
import sys

import odoorpc

given = json.load(sys.stdin)
odoo = odoorpc.ODOO(given["host"], protocol="jsonrpc", port=given["port"])
said = {"version": odoo.version}
try:
    odoo.login(given["database"], given["login"], "wrong")
except odoorpc.error.RPCError as error:
    said["wrong_password"] = str(error)
odoo.login(given["database"], given["login"], given["password"])
said["user"] = odoo.env.user.login

Request = odoo.env["maintenance.request"]
Equipment = odoo.env["maintenance.equipment"]
truck = Equipment.create({"name": "Truck", "serial_no": "TRK-9"})
made = Request.create({"name": "Coolant is hot", "equipment_id": truck})
said["made"] = made
said["found"] = Request.search([("equipment_id.serial_no", "=", "TRK-9"), ("done", "=", False)])
said["read"] = Request.read(made, ["name", "stage_id", "priority"])
record = Request.browse(made)
said["browsed"] = [record.name, record.equipment_id.serial_no, record.stage_id.name]
record.priority = "3"
record.stage_id = odoo.env.ref("maintenance.stage_3")
said["after"] = Request.search_read([("id", "=", made)], ["priority", "stage_id", "done"])
said["loaded"] = odoo.execute(
    "maintenance.request", "load", ["id", "name"], [["acme.one", "One"], ["acme.two", ""]]
)
said["again"] = odoo.execute("maintenance.request", "load", ["id", "name"], [["acme.one", "One"]])
said["count"] = Request.search_count([])
try:
    Equipment.create({"name": "Twin", "serial_no": "TRK-9"})
except odoorpc.error.RPCError as error:
    said["refused"] = [str(error), error.info["data"]["name"]]
try:
    odoo.env["no.such.model"]
except odoorpc.error.RPCError as error:
    said["no_model"] = str(error)
json.dump(said, sys.stdout)
