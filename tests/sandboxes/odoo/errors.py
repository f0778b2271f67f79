"""Exceptions by name, and what each becomes: a status, or a sentence of `load`."""

from __future__ import annotations

from typing import Any

STATUS = {
    "odoo.exceptions.UserError": 422,
    "odoo.exceptions.ValidationError": 422,
    "odoo.exceptions.AccessDenied": 403,
    "odoo.exceptions.AccessError": 403,
    "odoo.exceptions.MissingError": 404,
    "odoo.exceptions.LockError": 409,
    "werkzeug.exceptions.BadRequest": 400,
    "werkzeug.exceptions.Unauthorized": 401,
    "werkzeug.exceptions.NotFound": 404,
    "werkzeug.exceptions.UnprocessableEntity": 422,
}
"""Everything else is 500."""
WORDS = {
    "psycopg2.errors.SerializationFailure": "could not serialize access due to concurrent update",
    "psycopg2.errors.DeadlockDetected": "deadlock detected",
    "psycopg2.errors.LockNotAvailable": "could not obtain lock on row in relation",
    "psycopg2.errors.NotNullViolation": "Missing required value for the field 'Subjects' (name)",
}
FAMILY = frozenset(name for name in STATUS if name.startswith("odoo.exceptions."))
"""Subclasses of UserError."""


class OdooError(Exception):
    """What a method raised."""

    def __init__(self, name: str, message: str = "") -> None:
        self.name = name
        self.message = message or WORDS.get(name, f"{name}, as told")
        super().__init__(self.message)

    @property
    def status(self) -> int:
        """The status of a JSON-2 answer."""
        return STATUS.get(self.name, 500)

    @property
    def is_user_error(self) -> bool:
        """Whether `load` catches it as a UserError."""
        return self.name in FAMILY

    @property
    def is_database(self) -> bool:
        """Whether `load` catches it as an error of PostgreSQL."""
        return self.name.startswith("psycopg2.errors.")

    def as_json(self) -> dict[str, Any]:
        """odoo/http.py, serialize_exception."""
        arguments: list[Any] = [self.message]
        if self.name.startswith("werkzeug."):
            arguments.append(self.status)
        return {
            "name": self.name,
            "message": self.message,
            "arguments": arguments,
            "context": {},
            "debug": f"Traceback (most recent call last):\n  …\n{self.name}: {self.message}\n",
        }
