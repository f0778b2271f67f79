"""Whether a local copy of the state is whole: a seal over all rows of a partition.

Recovery and standby replicas are Faust's, and records that it fetched and dropped in a
rebalance are missing from the local copy without a trace (found by the crash suite): the
device would go on from an older state. So checkpoints are numbered, and each ends with a note
that holds the exclusive or of a hash of every row. A row says in which checkpoint it was
written and which hash its device had in the last note, so that a checkpoint that was cut short
is told from a row that is missing: its rows count with the hash of before.
"""

from __future__ import annotations

import hashlib


def hash_of(device_id: str, row: bytes) -> int:
    """64-bit BLAKE2b of a device's row."""
    digest = hashlib.blake2b(row, digest_size=8, key=device_id.encode()[:64]).digest()
    return int.from_bytes(digest, "little")


class Seal:
    """The seal of one partition's rows.

    `noted` is the number of the last checkpoint with a note, `total` the exclusive or of the
    hashes of all rows as they are, `claimed` of what the note's total is made of.
    """

    def __init__(self, noted: int = 0) -> None:
        self.noted = noted
        self.total = 0
        self.claimed = 0
        self._rows: dict[str, int] = {}
        self._unnoted: dict[str, int] = {}

    def found(self, device_id: str, row: bytes, *, checkpoint: int, before: int) -> None:
        """A stored row, and what it says of itself."""
        own = hash_of(device_id, row)
        self._rows[device_id] = own
        self.total ^= own
        if checkpoint > self.noted:
            self._unnoted[device_id] = before
            self.claimed ^= before
        else:
            self.claimed ^= own

    @property
    def checkpoint(self) -> int:
        """Number of the checkpoint under way."""
        return self.noted + 1

    def before(self, device_id: str) -> int:
        """The device's hash in the last note; 0 where it had no row."""
        return self._unnoted.get(device_id, self._rows.get(device_id, 0))

    def write(self, device_id: str, row: bytes) -> None:
        """A row of the checkpoint under way."""
        old, own = self._rows.get(device_id, 0), hash_of(device_id, row)
        self._unnoted.setdefault(device_id, old)
        self._rows[device_id] = own
        self.total ^= old ^ own

    def note(self) -> None:
        """The checkpoint's note is stored."""
        self.noted += 1
        self.claimed = self.total
        self._unnoted.clear()
