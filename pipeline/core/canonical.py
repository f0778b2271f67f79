"""The canonical model: what the pipeline and every connected system mean by the same words. Pure.

Data only, in canonical_objects.py. Mappings name its fields as `object.field` in lower case
(connectors/sources.py); `fieldline docs export` writes it for integrators; tests keep it in step
with both, and with the schema of what of it is kept on a topic.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """Type of a field's value."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "true or false"
    TIME = "time"
    CHOICE = "choice"
    REFERENCE = "reference"
    """Id of another object; `of` names it."""
    IDS = "ids by system.object"
    LIST = "list"


class Care(StrEnum):
    """What a value is about, for masking and minimisation."""

    TECHNICAL = "technical"
    """A machine's: no person or contract can be told from it."""
    BUSINESS = "business"
    """A customer's or a contract's."""
    PERSONAL = "personal"
    """A person's, or what names one (GDPR, art. 4)."""


MILLISECONDS = "ms since 1970"
"""Unit of every time, UTC."""
MONEY = "of the currency"
"""Unit of an amount: whole units of the object's `currency` (ISO 4217), with decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field. `unit` '' where it has none; `of` what a reference points at.

    `stored` is where it lies in a record of the identity map, '' where it does not.
    """

    name: str
    doc: str
    kind: Kind = Kind.TEXT
    unit: str = ""
    required: bool = False
    care: Care = Care.TECHNICAL
    of: str = ""
    stored: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One object. `record` is the system of record, `key` how one is told from another.

    `conflict` says what holds where two systems changed it. `carried` names the topic that it
    is on; '' where the model only fixes the words, and no data of it goes through yet.
    """

    name: str
    doc: str
    record: str
    key: str
    conflict: str
    fields: tuple[Field, ...]
    carried: str = ""

    def source(self, field: Field) -> str:
        """How a mapping names a field of it."""
        return f"{self.name.lower()}.{field.name}"
