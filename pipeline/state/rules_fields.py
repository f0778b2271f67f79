"""Reading YAML field by field, so that every error can name file, line and field.

The file is read as YAML nodes rather than values: a line is known for every field and
nothing is guessed. A number must look like one; a field that is not known, or stands there
twice, is refused.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Never

import yaml

from pipeline.core.detectors import MAX_VALUE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

MAX_TEXT: Final = 200
"""Longest name, label or unit, characters."""

_OFF: Final = "off"


class RulesFileError(ValueError):
    """The rules cannot be used; the text is one sentence with file, line and field."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the file: its node, the file's name and the field's full name."""

    node: yaml.Node
    source: str
    path: str
    line: int

    def refuse(self, why: str) -> Never:
        """Raise RulesFileError: 'SOURCE line N: FIELD WHY.'."""
        raise RulesFileError(f"{self.source} line {self.line}: {self.path or 'the file'} {why}.")

    @property
    def plain(self) -> str | None:
        """The text as written, or None where the value is a list or has fields."""
        return self.node.value if isinstance(self.node, yaml.ScalarNode) else None

    @property
    def is_null(self) -> bool:
        """Whether it is null, or left empty."""
        return self.plain is not None and self.node.tag == "tag:yaml.org,2002:null"

    @property
    def is_off(self) -> bool:
        """Whether it is the word off; YAML 1.1 calls it false, the node still has the word."""
        return self.plain == _OFF

    def text(self) -> str:
        """Printable text of at most MAX_TEXT characters, which may be empty."""
        text = self.plain
        if text is None or self.is_null:
            self.refuse("must be text")
        if len(text) > MAX_TEXT or not text.isprintable():
            self.refuse(f"must be at most {MAX_TEXT} printable characters")
        return text

    def number(self, least: float = -MAX_VALUE, most: float = MAX_VALUE) -> float:
        """A finite number between `least` and `most`."""
        try:
            # The node's own text: YAML 1.1 takes 1e-4 for a string.
            number = math.nan if self.plain is None else float(self.plain)
        except ValueError:
            number = math.nan
        if not abs(number) <= MAX_VALUE:
            self.refuse("must be a number")
        if not least <= number <= most:
            if most >= MAX_VALUE:
                self.refuse(f"must be {least:g} or more")
            self.refuse(f"must be a number from {least:g} to {most:g}")
        return number

    def count(self, least: int, most: int) -> int:
        """A whole number from `least` to `most`."""
        number = self.number()
        if number != int(number) or not least <= number <= most:
            self.refuse(f"must be a whole number, {least} to {most}")
        return int(number)

    def flag(self) -> bool:
        """True or false, by these words."""
        if self.plain not in {"true", "false"}:
            self.refuse("must be true or false")
        return self.plain == "true"

    def choice(self, names: Collection[str]) -> str:
        """One of `names`."""
        if self.plain not in names:
            self.refuse(f"must be one of {', '.join(names)}")
        return str(self.plain)

    def items(self, most: int) -> list[Value]:
        """The entries of a list of at most `most`."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.refuse("must be a list, [ … ]")
        if len(self.node.value) > most:
            self.refuse(f"has more than {most} entries; leave some out")
        return [
            Value(node, self.source, f"{self.path}[{place}]", node.start_mark.line + 1)
            for place, node in enumerate(self.node.value, 1)
        ]

    def numbers(self, count: int, shape: str) -> list[float]:
        """A list of exactly `count` numbers, described to a person by `shape`."""
        found = [item.number() for item in self.items(count)]
        if len(found) != count:
            self.refuse(f"must be {shape}")
        return found

    def fields(self, known: Collection[str] | None = None, *, most: int = 10_000) -> Fields:
        """Its fields, of which only those in `known` may be there; None allows any name."""
        return Fields(self, known, most)


class Fields:
    """A mapping of the file. An empty value counts as one without fields."""

    def __init__(self, value: Value, known: Collection[str] | None, most: int) -> None:
        self._value = value
        self._values: dict[str, Value] = {}
        if value.is_null:
            return
        if not isinstance(value.node, yaml.MappingNode):
            value.refuse("must be fields with values, 'name: value'")
        if len(value.node.value) > most:
            value.refuse(f"has more than {most} fields; leave some out")
        for key, node in value.node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                Value(key, value.source, value.path, line).refuse(
                    "has a field whose name is not text"
                )
            name = key.value
            path = f"{value.path}.{name}" if value.path else name
            found = Value(node, value.source, path, line)
            if known is not None and name not in known:
                near = difflib.get_close_matches(name, known, 1)
                hint = f"did you mean {near[0]}" if near else f"there are {', '.join(known)}"
                found.refuse(f"is not a field here; {hint}")
            if name in self._values:
                found.refuse("is given twice; leave one of them out")
            self._values[name] = found

    def __iter__(self) -> Iterator[tuple[str, Value]]:
        return iter(self._values.items())

    def __len__(self) -> int:
        return len(self._values)

    def get(self, name: str) -> Value | None:
        """The field's value, or None where it is not there."""
        return self._values.get(name)

    def on(self, name: str) -> Value | None:
        """As `get`, and None too where it is null or off: an optional part left out."""
        value = self._values.get(name)
        return None if value is None or value.is_null or value.is_off else value

    def need(self, name: str) -> Value:
        """The field's value; RulesFileError where it is not there."""
        value = self._values.get(name)
        if value is None:
            path = f"{self._value.path}.{name}" if self._value.path else name
            Value(self._value.node, self._value.source, path, self._value.line).refuse(
                "is missing; add it"
            )
        return value

    def refuse(self, name: str, why: str) -> Never:
        """Refuse a field by its name, or the mapping where the field is not there."""
        (self._values.get(name) or self._value).refuse(why)


def read_text(path: Path, what: str, most: int, *, unreadable: str, too_long: str) -> str:
    """The text of the file at `path`, at most `most` bytes; RulesFileError with what to do."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise RulesFileError(
            f"The {what} {path} cannot be read ({error.strerror}): {unreadable}."
        ) from error
    if len(data) > most:
        raise RulesFileError(f"The {what} {path} is over {most} bytes: {too_long}.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RulesFileError(f"The {what} {path} is not UTF-8 text: save it as such.") from error


def root(text: str, source: str) -> Value:
    """The whole file as one value; RulesFileError where it is empty or no YAML."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RulesFileError(
            f"{source} line {line}: this is not YAML ({error.problem})."
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise RulesFileError(f"{source} line 1: this is not YAML that can be read.") from error
    if node is None:
        raise RulesFileError(f"{source} line 1: the file is empty; it needs name, version, ….")
    return Value(node, source, "", node.start_mark.line + 1)
