"""The rules file (YAML) as Rules. Every error names file, line and field in one sentence.

The file is read as YAML nodes rather than values, so that a line is known for every field
and nothing is guessed: a number must look like one, a name that is not known is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never, cast

import yaml

from pipeline.core.anomaly import MAX_VALUE
from pipeline.core.rules import LANES, LimitRule, MetricRule, Rules, ScoreRule

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1_048_576
"""Largest rules file that is read."""

_LEAST = 1e-12
"""Least scale and hysteresis: scores are divided by them."""

_MAX_SAMPLES = 10_000
"""Longest count of samples in a rule: streaks are kept in 16 bits."""


class RulesFileError(ValueError):
    """The rules file cannot be used; the text is one sentence with file, line and field."""


def load(path: Path) -> Rules:
    """Rules in the file at `path`; RulesFileError where it cannot be read or used."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        text = data.decode("utf-8")
    except OSError as error:
        raise RulesFileError(
            f"The rules file {path} cannot be read ({error.strerror}): "
            f"set FIELDLINE_RULES_FILE to one that can."
        ) from error
    except UnicodeDecodeError as error:
        raise RulesFileError(
            f"The rules file {path} is not UTF-8 text: save it as such."
        ) from error
    if len(data) > MAX_BYTES:
        raise RulesFileError(f"The rules file {path} is over {MAX_BYTES} bytes: split it.")
    return parse(text, str(path))


def parse(text: str, source: str) -> Rules:
    """Rules in `text`; `source` is the file's name for errors."""
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
    top = _Fields(node, source, "")
    name, version = top.text("name"), top.count("version", 1, 1 << 31)
    part = top.part("episodes")
    cool_down = part.count("cool_down", 1, _MAX_SAMPLES)
    agree = part.part("agree")
    numbers = tuple(agree.count(lane.severity.value, 1, 1_000) for lane in LANES)
    agree.done()
    part.done()
    defaults = _metric(top.part("defaults"))
    listed = top.part("metrics", optional=True)
    metrics = {name: _metric(listed.part(name, fallback=defaults)) for name in listed.names()}
    listed.done()
    top.done()
    return Rules(
        name=name,
        version=version,
        defaults=defaults,
        metrics=metrics,
        agree=numbers,
        cool_down=cool_down,
    )


def _metric(fields: _Fields) -> MetricRule:
    rule = MetricRule(
        label=fields.text("label"),
        unit=fields.text("unit"),
        warm_up=fields.count("warm_up", 2, _MAX_SAMPLES),
        baseline_samples=fields.number("baseline_samples", 1.0),
        level_samples=fields.number("level_samples", 1.0),
        clip=fields.number("clip", 1.0),
        level_clip=fields.number("level_clip", 1.0),
        scale_floor=fields.number("scale_floor", _LEAST),
        scale_floor_relative=fields.number("scale_floor_relative", 0.0),
        info=_score(fields.part("info")),
        warning=_score(fields.part("warning")),
        limit=_limit(fields.part("limit")),
    )
    fields.done()
    return rule


def _score(fields: _Fields) -> ScoreRule:
    rule = ScoreRule(
        enter=fields.threshold("enter"),
        leave=fields.number("leave", 0.0),
        enter_samples=fields.count("enter_samples", 1, _MAX_SAMPLES),
        leave_samples=fields.count("leave_samples", 1, _MAX_SAMPLES),
    )
    if rule.leave > rule.enter:
        fields.refuse("leave", "must not be above enter")
    fields.done()
    return rule


def _limit(fields: _Fields) -> LimitRule:
    rule = LimitRule(
        low=fields.limit("low"),
        high=fields.limit("high"),
        hysteresis=fields.number("hysteresis", _LEAST),
        enter_samples=fields.count("enter_samples", 1, _MAX_SAMPLES),
        leave_samples=fields.count("leave_samples", 1, _MAX_SAMPLES),
    )
    if rule.low is not None and rule.high is not None and rule.low >= rule.high:
        fields.refuse("low", "must be under high")
    fields.done()
    return rule


@dataclass(frozen=True, slots=True)
class _Value:
    line: int
    node: yaml.Node


class _Fields:
    """A mapping of the file, read field by field; `done` refuses what nobody asked for.

    A field that is not there is taken from `fallback`, where there is one: metrics say only
    what differs from the defaults.
    """

    def __init__(
        self,
        node: yaml.Node | None,
        source: str,
        path: str,
        fallback: MetricRule | ScoreRule | LimitRule | None = None,
    ) -> None:
        self._source, self._path, self._fallback = source, path, fallback
        self._line = 1 if node is None else node.start_mark.line + 1
        self._values: dict[str, _Value] = {}
        self._asked: set[str] = set()
        if node is None or _is_null(node):
            return
        if not isinstance(node, yaml.MappingNode):
            self._stop(self._line, path or "the file", "must be fields with values, 'name: value'")
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self._stop(line, path or "the file", "has a field whose name is not text")
            if key.value in self._values:
                self._stop(line, self._full(key.value), "is given twice; leave one of them out")
            self._values[key.value] = _Value(line, value)

    def names(self) -> list[str]:
        return list(self._values)

    def part(
        self, name: str, *, optional: bool = False, fallback: MetricRule | None = None
    ) -> _Fields:
        value = self._take(name)
        inherited = fallback or getattr(self._fallback, name, None)
        if value is None and not optional and inherited is None:
            self._missing(name)
        return _Fields(value.node if value else None, self._source, self._full(name), inherited)

    def text(self, name: str) -> str:
        value = self._take(name)
        if value is None:
            return cast("str", self._inherited(name))
        if not isinstance(value.node, yaml.ScalarNode) or _is_null(value.node):
            self._stop(value.line, self._full(name), "must be text")
        return str(value.node.value)

    def count(self, name: str, low: int, high: int) -> int:
        value = self._take(name)
        if value is None:
            return cast("int", self._inherited(name))
        number = self._number(name, value)
        if number != int(number) or not low <= number <= high:
            self._stop(value.line, self._full(name), f"must be a whole number, {low} to {high}")
        return int(number)

    def number(self, name: str, low: float) -> float:
        value = self._take(name)
        if value is None:
            return cast("float", self._inherited(name))
        number = self._number(name, value)
        if number < low:
            self._stop(value.line, self._full(name), f"must be {low:g} or more")
        return number

    def threshold(self, name: str) -> float:
        """A number above 0; 'off' is infinity, a lane that nothing enters."""
        value = self._take(name)
        if value is None:
            return cast("float", self._inherited(name))
        # YAML 1.1 reads a bare off as false: the node still has the word.
        if isinstance(value.node, yaml.ScalarNode) and value.node.value == "off":
            return math.inf
        number = self._number(name, value)
        if number <= 0:
            self._stop(value.line, self._full(name), "must be above 0, or off")
        return number

    def limit(self, name: str) -> float | None:
        """A number, or null for no limit."""
        value = self._take(name)
        if value is None:
            return cast("float | None", self._inherited(name))
        return None if _is_null(value.node) else self._number(name, value)

    def done(self) -> None:
        for name, value in self._values.items():
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                self._stop(value.line, self._full(name), f"is not a field here; there are {known}")

    def refuse(self, name: str, why: str) -> Never:
        value = self._values.get(name)
        self._stop(value.line if value else self._line, self._full(name), why)

    def _take(self, name: str) -> _Value | None:
        self._asked.add(name)
        return self._values.get(name)

    def _number(self, name: str, value: _Value) -> float:
        try:
            # The node's own text: YAML 1.1 takes 1e-4 for a string.
            number = float(value.node.value) if isinstance(value.node, yaml.ScalarNode) else None
        except ValueError:
            number = None
        if number is None or not abs(number) <= MAX_VALUE:
            self._stop(value.line, self._full(name), "must be a number")
        return number

    def _inherited(self, name: str) -> object:
        return self._missing(name) if self._fallback is None else getattr(self._fallback, name)

    def _missing(self, name: str) -> Never:
        self._stop(self._line, self._full(name), "is missing; add it")

    def _full(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _stop(self, line: int, field: str, why: str) -> Never:
        raise RulesFileError(f"{self._source} line {line}: {field} {why}.")


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
