"""Fieldline: from device telemetry to the systems a business runs on.

Also says where Numba keeps compiled loops, before anything imports Numba: in a folder named by
a hash of all sources that they may be made of. Numba itself looks only at the file of the
outermost function and would take stale code when a function in another file has changed.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_CORE = Path(__file__).parent / "core"
_KEPT = Path.home() / ".cache" / "fieldline"


def _sources() -> str:
    digest = hashlib.sha256()
    for path in sorted((*_CORE.glob("*.py"), *(_CORE / "detectors").glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# A folder of the user's own stays. Ours is named anew: the process that started this one may
# have been started before the sources changed.
if not (_named := os.environ.get("NUMBA_CACHE_DIR")) or Path(_named).parent == _KEPT:
    os.environ["NUMBA_CACHE_DIR"] = str(_KEPT / _sources())
