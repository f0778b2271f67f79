"""Whether a change of the identity map may be, and what it makes of the entries. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from pipeline.core.identity import (
    EVER,
    MAX_IDS,
    MAX_LOG,
    MAX_PERIODS,
    Applied,
    Entry,
    Kind,
    Period,
    command_field,
    during,
    id_field,
    is_shared,
    key_of,
    kind_of,
    spliced,
)
from pipeline.core.identity_check import MAX_WHY, No, check
from pipeline.core.identity_commands import (
    GRACE_MS,
    AnyCommand,
    Book,
    Code,
    Decided,
    Describe,
    Move,
    Own,
    Provision,
    Refused,
    Retire,
    digest_of,
    subject,
)


def decide(command: AnyCommand, book: Book, now_ms: int) -> Decided | Refused:
    """The entries that change, or why not. `book` has all that `wanted` asks for.

    A command that was applied changes nothing, however often it comes again.
    """
    try:
        check(command)
        if command.id and (told := _repeated(command, book)):
            return told
        return _Change(command, book, now_ms).made()
    except No as no:
        return no.refused


def _repeated(command: AnyCommand, book: Book) -> Decided | Refused | None:
    key = book.owners.get(command_field(command.id))
    if key is None:
        return None
    entry = book.entries.get(key)
    known = next((one for one in entry.log if one.command == command.id), None) if entry else None
    if known is None or known.digest != digest_of(command):
        return Refused(
            code=Code.REUSED,
            field="id",
            message=f"Command {command.id!r} asked for something else before: give this one an "
            "id of its own.",
        )
    return Decided(said=(known.said,) if known.said else (), again=True)


class _Change:
    """One command's changes, gathered over copies: the book stays as it is."""

    def __init__(self, command: AnyCommand, book: Book, now_ms: int) -> None:
        self._command = command
        self._book = book
        self._now_ms = now_ms
        self._work: dict[str, Entry] = {}
        self._said: list[str] = []

    def made(self) -> Decided | Refused:
        match self._command:
            case Provision():
                self._provision(self._command)
            case Move(device_id=device, asset_id=asset):
                self._serving(self._known(Kind.DEVICE, device, "device_id"), "device_id")
                if asset:
                    self._serving(self._known(Kind.ASSET, asset, "asset_id"), "asset_id")
                self._mount(device, asset)
            case Own(asset_id=asset, customer_id=customer, site=site, region=region):
                self._serving(self._known(Kind.ASSET, asset, "asset_id"), "asset_id")
                if customer:
                    self._serving(
                        self._known(Kind.CUSTOMER, customer, "customer_id"), "customer_id"
                    )
                self._own(asset, customer, site, region)
            case Describe():
                self._describe(self._command)
            case Retire(kind=kind, entry_id=ident, back=back):
                self._retire(self._known(kind, ident, "entry_id"), back=back)
        return self._decided()

    def _decided(self) -> Decided:
        command = self._command
        key = subject(command)
        said = "; ".join(self._said)
        changed = {k: e for k, e in self._work.items() if e != self._book.entries.get(k)}
        if command.id and key not in changed:
            entry = self._book.entries.get(key)
            if entry is not None:
                changed[key] = entry
        applied = Applied(
            command=command.id,
            digest=digest_of(command),
            at_ms=self._now_ms,
            who=command.who,
            why=command.why,
            said=said[:MAX_WHY],
        )
        out = []
        for name, entry in changed.items():
            # Only the subject has the command's id: one owner, so one place to look it up.
            note = applied if name == key else replace(applied, command="")
            log = (*entry.log, note)[-MAX_LOG:]
            out.append(replace(entry, version=entry.version + 1, log=log))
        return Decided(entries=tuple(out), said=tuple(self._said))

    # -- entries

    def _get(self, kind: Kind, ident: str) -> Entry | None:
        key = key_of(kind, ident)
        return self._work.get(key) or self._book.entries.get(key)

    def _known(self, kind: Kind, ident: str, where: str) -> Entry:
        found = self._get(kind, ident)
        if found is None:
            raise No(
                Code.UNKNOWN,
                where,
                f"There is no {kind} {ident} in the identity map: provision it.",
            )
        return found

    def _serving(self, entry: Entry, where: str) -> None:
        if entry.retired(self._command.at_ms or self._now_ms):
            raise No(
                Code.RETIRED,
                where,
                f"{entry.kind.capitalize()} {entry.id} is retired: bring it back first.",
            )

    def _made(self, kind: Kind, ident: str) -> Entry:
        found = self._get(kind, ident)
        if found is None:
            found = Entry(kind=kind, id=ident)
            self._said.append(f"{kind} {ident} is new")
            self._put(found)
        return found

    def _put(self, entry: Entry) -> None:
        self._work[entry.key] = entry

    def _set(self, kind: Kind, ident: str, **facts: str | None) -> None:
        """Facts that have no time; None leaves one as it is."""
        entry = self._made(kind, ident)
        for name, value in facts.items():
            before = getattr(entry, name)
            if value is not None and value != before:
                if before:
                    self._said.append(f"{name.replace('_', ' ')} of {kind} {ident} is {value!r}")
                entry = replace(entry, **{name: value})  # type: ignore[arg-type]  # texts only
        self._put(entry)

    def _name(self, kind: Kind, ident: str, ids: Mapping[str, str]) -> None:
        """Ids at other systems; '' takes one away."""
        if not ids:
            return
        entry = self._made(kind, ident)
        kept = dict(entry.ids)
        for name, value in ids.items():
            if not value:
                if kept.pop(name, None) is not None:
                    self._said.append(f"{kind} {ident} has no {name} any more")
                continue
            owner = None if is_shared(name) else self._book.owners.get(id_field(name, value))
            if owner is not None and owner != entry.key:
                raise No(
                    Code.ID_TAKEN,
                    name,
                    f"{name} {value} is {owner.replace('/', ' ', 1)}'s: take it away there first.",
                )
            if kept.get(name) != value:
                self._said.append(f"{kind} {ident} is {value} at {name}")
            kept[name] = value
        if len(kept) > MAX_IDS:
            raise No(Code.FULL, "ids", f"{kind} {ident} has {MAX_IDS} ids already.")
        self._put(replace(entry, ids=kept))

    # -- what is asked

    def _provision(self, wish: Provision) -> None:
        device = self._made(Kind.DEVICE, wish.device_id)
        asset_id = wish.asset_id
        if asset_id is None and device.periods and device.periods[-1].to_ms is None:
            asset_id = device.periods[-1].of
        asset = self._get(Kind.ASSET, asset_id) if asset_id else None
        owned = during(asset.periods, self._now_ms) if asset else None
        customer_id = wish.customer_id or (owned.of if owned else None)
        if asset_id is None or customer_id is None:
            where = "asset_id" if asset_id is None else "customer_id"
            raise No(Code.INVALID, where, f"{wish.device_id} needs an {where}: give one.")
        self._set(Kind.CUSTOMER, customer_id, name=wish.customer_name, tax_id=wish.customer_tax_id)
        fresh = asset is None
        self._set(Kind.ASSET, asset_id, name=wish.asset_name)
        self._set(Kind.DEVICE, wish.device_id, device_class=wish.device_class)
        places = {Kind.DEVICE: wish.device_id, Kind.ASSET: asset_id, Kind.CUSTOMER: customer_id}
        for kind, ident in places.items():
            ids = {n: v for n, v in wish.ids.items() if kind_of(n) is kind}
            self._name(kind, ident, ids)
        if device.retired_at_ms is not None:
            self._retire(self._known(Kind.DEVICE, device.id, "device_id"), back=True)
        self._own(asset_id, customer_id, wish.site, wish.region)
        self._mount(wish.device_id, asset_id)
        asset = self._known(Kind.ASSET, asset_id, "asset_id")
        if wish.active is not None and wish.active is (asset.retired_at_ms is not None):
            self._retire(asset, back=wish.active, at_ms=EVER if fresh else None)

    def _describe(self, wish: Describe) -> None:
        if wish.kind is Kind.DEVICE:
            raise No(Code.INVALID, "kind", "A device is provisioned: it has no name of its own.")
        for name in wish.ids:
            if kind_of(name) is not wish.kind:
                raise No(Code.INVALID, name, f"{name} names a {kind_of(name)}, not a {wish.kind}.")
        tax_id = wish.tax_id if wish.kind is Kind.CUSTOMER else None
        self._set(wish.kind, wish.entry_id, name=wish.name, tax_id=tax_id)
        self._name(wish.kind, wish.entry_id, wish.ids)

    def _own(self, asset_id: str, customer_id: str, site: str | None, region: str | None) -> None:
        asset = self._known(Kind.ASSET, asset_id, "asset_id")
        from_ms = self._from(fresh=not asset.periods)
        before = during(asset.periods, from_ms)
        new = None
        if customer_id:
            # Another owner has it elsewhere: a site that is not told is not known.
            same = before if before is not None and before.of == customer_id else Period(of="")
            new = Period(
                of=customer_id,
                site=same.site if site is None else site,
                region=same.region if region is None else region,
            )
        if not self._is_so(asset, new, from_ms):
            self._splice(asset, new, from_ms, "customer_id", "whose it was")

    def _mount(self, device_id: str, asset_id: str) -> None:
        device = self._known(Kind.DEVICE, device_id, "device_id")
        asset = self._known(Kind.ASSET, asset_id, "asset_id") if asset_id else None
        fresh = not device.periods and (asset is None or not asset.devices)
        from_ms, until_ms = self._from(fresh=fresh), self._command.until_ms
        new = Period(of=asset_id) if asset_id else None
        if self._is_so(device, new, from_ms):
            return
        if asset is not None:
            for other in asset.devices:
                entry = self._get(Kind.DEVICE, other) if other != device_id else None
                for period in entry.periods if entry is not None else ():
                    if period.of == asset_id and period.overlaps(from_ms, until_ms):
                        raise No(
                            Code.TAKEN,
                            "asset_id",
                            f"Asset {asset_id} has device {other} {_span(period)}: move it first.",
                        )
            if device_id not in asset.devices:
                if len(asset.devices) >= MAX_PERIODS:
                    raise No(Code.FULL, "asset_id", f"Asset {asset_id} had too many devices.")
                self._put(replace(asset, devices=(*asset.devices, device_id)))
        self._splice(device, new, from_ms, "asset_id", "where it was")

    def _from(self, *, fresh: bool) -> int:
        if self._command.at_ms is not None:
            return self._command.at_ms
        return EVER if fresh else self._now_ms

    def _is_so(self, entry: Entry, new: Period | None, from_ms: int) -> bool:
        """Whether nothing is to be done; what is planned for later then stays planned."""
        held = during(entry.periods, from_ms)
        same = (held.what if held else None) == (new.what if new else None)
        return same and self._command.at_ms is None

    def _splice(
        self, entry: Entry, new: Period | None, from_ms: int, where: str, what: str
    ) -> None:
        """Put a period in; refused where that changes what is recorded of the past."""
        until_ms = self._command.until_ms
        periods = spliced(entry.periods, new, from_ms, until_ms)
        if periods == entry.periods:
            return
        past = entry.periods and from_ms < self._now_ms - GRACE_MS
        if past and not self._command.past:
            raise No(
                Code.PAST,
                where,
                f"It would change {what} before now, of {entry.kind} {entry.id}: say that you "
                "mean the past, or leave the time out.",
            )
        if len(periods) > MAX_PERIODS:
            raise No(Code.FULL, where, f"{entry.kind} {entry.id} has {MAX_PERIODS} periods.")
        span = _span(Period(of="", from_ms=from_ms, to_ms=until_ms))
        told = f"{new.of}{f' at {new.site}' if new.site else ''}" if new else "nothing"
        verb = "is on" if entry.kind is Kind.DEVICE else "belongs to"
        self._said.append(f"{entry.kind} {entry.id} {verb} {told} {span}")
        self._put(replace(entry, periods=periods))

    def _retire(self, entry: Entry, *, back: bool, at_ms: int | None = None) -> None:
        if back:
            if entry.retired_at_ms is not None:
                self._said.append(f"{entry.kind} {entry.id} is in service again")
            self._put(replace(entry, retired_at_ms=None))
            return
        if at_ms is None:
            at_ms = self._command.at_ms if self._command.at_ms is not None else self._now_ms
            if entry.retired_at_ms is not None and self._command.at_ms is None:
                return
            if at_ms < self._now_ms - GRACE_MS and not self._command.past:
                raise No(
                    Code.PAST,
                    "at_ms",
                    f"{entry.kind.capitalize()} {entry.id} was in service then: say that you mean "
                    "the past, or leave the time out.",
                )
        if entry.retired_at_ms == at_ms:
            return
        self._said.append(
            f"{entry.kind} {entry.id} is retired {_span(Period(of='', from_ms=at_ms))}"
        )
        if entry.kind is Kind.DEVICE:
            entry = replace(entry, periods=spliced(entry.periods, None, at_ms))
        self._put(replace(entry, retired_at_ms=at_ms))


def _span(period: Period) -> str:
    """Its times in words, UTC."""
    since = "since ever" if period.from_ms == EVER else f"from {_instant(period.from_ms)}"
    return since if period.to_ms is None else f"{since} to {_instant(period.to_ms)}"


def _instant(time_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"
