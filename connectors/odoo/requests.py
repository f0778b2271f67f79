"""What is raised: a maintenance request, and the equipment that it is about. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.base import Conversation
from connectors.odoo.answers import NO_EQUIPMENT, NO_STAGE
from connectors.odoo.config import OdooSettings
from connectors.odoo.mapping import EQUIPMENT, REQUEST, equipment_id, request_id
from connectors.odoo.records import INSERT, Records, Table
from pipeline.core.outcome import Delivered, Outcome, Rejected, Retryable, Scope

REQUESTS, EQUIPMENTS, STAGES = "maintenance.request", "maintenance.equipment", "maintenance.stage"
STAGE = "stage_id/.id"
Ids = Mapping[str, tuple[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request to be made. `equipment` and `fields` by `load`'s columns.

    `known` is what the identity map calls the equipment: an external id or a number; '' = it
    does not know it.
    """

    key: str
    asset: str
    known: str
    fields: Mapping[str, Any]
    equipment: Mapping[str, Any]

    @property
    def place(self) -> str:
        """External id of its equipment."""
        return equipment_id(self.asset, shown=self.equipment["serial_no"] == self.asset)


class Requests:
    """Creating requests under one user."""

    def __init__(self, records: Records, settings: OdooSettings) -> None:
        self._records = records
        self._settings = settings

    def stages(self, found: Ids) -> tuple[int, int] | Retryable:
        """Ids of the stages where requests are open and done, among the external ids found."""
        told = []
        for name in self.stage_names():
            model, own = found.get(name, ("", 0))
            if model != STAGES:
                return Retryable(
                    code=NO_STAGE.code,
                    message=f"Odoo has no stage {name}: {NO_STAGE.advice}.",
                    scope=Scope.SYSTEM,
                )
            told.append(own)
        return told[0], told[1]

    def stage_names(self) -> tuple[str, str]:
        """External ids of the stages."""
        return self._settings.open_stage, self._settings.done_stage

    def create(self, wanted: Mapping[str, Request]) -> Conversation[dict[str, Outcome]]:
        """One outcome for each, by key; what is there is left as it is."""
        names = {request_id(one.key) for one in wanted.values()}
        names |= {one.place for one in wanted.values()}
        names |= {one.known for one in wanted.values() if "." in one.known}
        found = yield from self._records.ids("look_up", names | set(self.stage_names()))
        if isinstance(found, Retryable):
            return dict.fromkeys(wanted, found)
        results: dict[str, Outcome] = {
            key: Delivered(target_id=str(there), created=False)
            for key in wanted
            if (there := _of(found, request_id(key), REQUESTS))
        }
        left = {key: one for key, one in wanted.items() if key not in results}
        return results | ((yield from self._create(left, found)) if left else {})

    def _create(self, left: Mapping[str, Request], found: Ids) -> Conversation[dict[str, Outcome]]:
        stages = self.stages(found)
        if isinstance(stages, Retryable):
            return dict.fromkeys(left, stages)
        results: dict[str, Outcome] = {}
        places = yield from self._equipment(left.values(), found)
        ready: dict[str, list[str]] = {}
        for key, one in left.items():
            place = places[one.asset]
            if isinstance(place, int):
                fields = {**one.fields, "equipment_id/.id": place, STAGE: stages[0]}
                ready[request_id(key)] = _cells(fields, COLUMNS)
            else:
                results[key] = place
        if ready:
            table = Table(REQUESTS, COLUMNS, ready)
            made = yield from self._records.load("create_request", table, INSERT)
            for key in left:
                got = made.get(request_id(key))
                if got is not None:
                    results[key] = _delivered(got)
        return results

    def _equipment(
        self, wanted: Collection[Request], found: Ids
    ) -> Conversation[dict[str, int | Outcome]]:
        """The equipment of every asset, by its id.

        It is the identity map's, ours, the one with its serial number, or a new one.
        """
        places: dict[str, int | Outcome] = {}
        missing: dict[str, Request] = {}
        for one in wanted:
            known = _of(found, one.known, EQUIPMENTS)
            ours = _of(found, one.place, EQUIPMENTS)
            if one.known.isascii() and one.known.isdigit():
                places[one.asset] = int(one.known)
            elif known or (ours and not one.known):
                places[one.asset] = known or ours
            elif one.known:
                places[one.asset] = _unknown_equipment(one)
            else:
                missing[one.asset] = one
        # A serial number that was masked or mended on its way is not the asset's.
        serials = [one.asset for one in missing.values() if one.equipment["serial_no"] == one.asset]
        if serials:
            domain = [["serial_no", "in", sorted(serials)]]
            rows = yield from self._records.search(
                "find_equipment", EQUIPMENTS, domain, ("serial_no",)
            )
            if isinstance(rows, Retryable):
                return places | dict.fromkeys(missing, rows)
            for row in rows:
                if missing.pop(str(row.get("serial_no")), None):
                    places[str(row["serial_no"])] = row["id"]
        if missing:
            cells = {
                one.place: _cells(
                    {"name": one.equipment["serial_no"], **one.equipment}, EQUIPMENT_COLUMNS
                )
                for one in missing.values()
            }
            table = Table(EQUIPMENTS, EQUIPMENT_COLUMNS, cells)
            made = yield from self._records.load("create_equipment", table, INSERT)
            places |= {asset: made[one.place] for asset, one in missing.items()}
        return places


COLUMNS = (*(field.target for field in REQUEST), STAGE)
EQUIPMENT_COLUMNS = tuple(field.target for field in EQUIPMENT)


def _cells(fields: Mapping[str, Any], columns: Sequence[str]) -> list[str]:
    """`load` takes texts only; an empty one is no value."""
    return ["" if fields.get(name) is None else str(fields[name]) for name in columns]


def _of(found: Ids, name: str, model: str) -> int:
    """The id under that external id where it is of that model, else 0."""
    there, own = found.get(name, ("", 0))
    return own if there == model else 0


def _delivered(got: int | Outcome) -> Outcome:
    return Delivered(target_id=str(got), created=True) if isinstance(got, int) else got


def _unknown_equipment(one: Request) -> Rejected:
    return Rejected(
        code=NO_EQUIPMENT.code,
        message=f"Odoo has no equipment {one.known[:128]!r}, which the identity map names for "
        f"asset {one.asset[:128]!r}: correct one of them.",
    )
