"""How the fields of the canonical model are written down, in a word each."""

from __future__ import annotations

from pipeline.core.canonical import MILLISECONDS, MONEY, Care, Field, Kind


def id_(doc: str, *, stored: str = "", care: Care = Care.TECHNICAL) -> Field:
    """What one is told from another by."""
    return Field(name="id", doc=doc, required=True, stored=stored, care=care)


def text_(
    name: str, doc: str, *, care: Care = Care.TECHNICAL, stored: str = "", required: bool = False
) -> Field:
    """A text."""
    return Field(name=name, doc=doc, care=care, stored=stored, required=required)


def ref_(
    name: str,
    of: str,
    doc: str,
    *,
    care: Care = Care.TECHNICAL,
    stored: str = "",
    required: bool = True,
) -> Field:
    """A reference to another object."""
    return Field(
        name=name, doc=doc, kind=Kind.REFERENCE, of=of, care=care, stored=stored, required=required
    )


def time_(name: str, doc: str, *, stored: str = "", required: bool = False) -> Field:
    """An instant."""
    return Field(
        name=name, doc=doc, kind=Kind.TIME, unit=MILLISECONDS, stored=stored, required=required
    )


def number_(name: str, unit: str, doc: str, *, care: Care = Care.TECHNICAL) -> Field:
    """A number with its unit."""
    return Field(name=name, doc=doc, kind=Kind.NUMBER, unit=unit, care=care)


def amount_(name: str, doc: str) -> Field:
    """An amount of money."""
    return number_(name, MONEY, doc, care=Care.BUSINESS)


def choice_(name: str, doc: str) -> Field:
    """One of a few words."""
    return Field(name=name, doc=doc, kind=Kind.CHOICE)
