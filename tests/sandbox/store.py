"""What a receiver has got: each event once by its key, in the order in which it came."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

TOLERANCE_S = 300


@dataclass(slots=True)
class Kept:
    """One key's record. `effects` is what a receiver without keys would have done so often."""

    place: int
    device: str
    sequence: str
    digest: bytes
    received: int = 1
    effects: int = 1


class Store:
    """Everything that was taken. `keyed` False: the same key makes a new effect each time."""

    def __init__(self, *, keyed: bool) -> None:
        self.keyed = keyed
        self.kept: dict[str, Kept] = {}
        self.requests = self.events = self.refused = self.unsigned = 0

    def take(self, event: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Take one CloudEvent; the status and the answer for it."""
        key = event["id"]
        # What was measured and when does not change between attempts, so all of it counts.
        digest = hashlib.blake2b(orjson.dumps(event["data"]), digest_size=8).digest()
        known = self.kept.get(key)
        self.events += 1
        if known is None:
            place = len(self.kept) + 1
            self.kept[key] = Kept(place, event["subject"], event["sequence"], digest)
            return 201, {"id": key, "target_id": f"box-{place}", "status": 201}
        known.received += 1
        if known.digest != digest:
            self.refused += 1
            return 422, {"id": key, "status": 422, "detail": "this key had another payload"}
        if not self.keyed:
            known.effects += 1
        found = {"id": key, "target_id": f"box-{known.place}", "status": 200, "created": False}
        return 200, found

    def stats(self) -> dict[str, Any]:
        """Counts."""
        return {
            "keys": len(self.kept),
            "requests": self.requests,
            "events": self.events,
            "effects": sum(kept.effects for kept in self.kept.values()),
            "doubled": sum(kept.effects > 1 for kept in self.kept.values()),
            "refused": self.refused,
            "unsigned": self.unsigned,
            "out_of_order": self.out_of_order(),
        }

    def out_of_order(self) -> int:
        """Keys that came after a later one of their device."""
        newest: dict[str, str] = {}
        late = 0
        for kept in self.kept.values():  # a dict keeps the order in which they came
            late += kept.sequence < newest.get(kept.device, "")
            newest[kept.device] = max(kept.sequence, newest.get(kept.device, ""))
        return late

    def journal(self) -> list[dict[str, Any]]:
        """Every key in the order in which it came first."""
        return [
            {
                "key": key,
                "place": kept.place,
                "device": kept.device,
                "sequence": kept.sequence,
                "received": kept.received,
                "effects": kept.effects,
            }
            for key, kept in self.kept.items()
        ]


def genuine(headers: Mapping[str, str], body: bytes, key: bytes, now_s: float) -> bool:
    """Whether both signatures are right: Standard Webhooks', and X-Signature's."""
    try:
        stamp, name = headers["webhook-timestamp"], headers["webhook-id"]
        age = abs(now_s - int(stamp))
        standard = headers["webhook-signature"].split(" ")
        parts = [part.partition("=") for part in headers["x-signature"].split(",")]
    except (KeyError, ValueError):
        return False
    mine = hmac.new(key, f"{name}.{stamp}.".encode() + body, hashlib.sha256).digest()
    own = hmac.new(key, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    stamps = [value for name, _, value in parts if name == "t"]
    given = [value for name, _, value in parts if name == "s"]
    return (
        age <= TOLERANCE_S
        and stamps == [stamp]
        and any(
            hmac.compare_digest(one, f"v1,{base64.b64encode(mine).decode()}") for one in standard
        )
        and any(hmac.compare_digest(one, f"sha256={own}") for one in given)
    )
