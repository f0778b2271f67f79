"""Machine code from Python for the loops over readings, by Numba; no compiler is installed.

Without fast-math: results are those of IEEE 754 and of the same code run as plain Python
(NUMBA_DISABLE_JIT=1), so an event does not depend on how its readings were batched.

Compiled code is kept on disk, in a folder that `pipeline` names (pipeline/__init__.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import numba
from numba import config
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.extending import intrinsic
from numba.np import arrayobj as _arrayobj

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

# Numba's code generators carry no types.
arrayobj: Any = _arrayobj
cgutils: Any = _cgutils


def jit(function: F) -> F:
    """`function` compiled at its first call; it must not raise and takes no keyword arguments."""
    return cast("F", numba.njit(cache=True, nogil=True, error_model="numpy")(function))


def jit_inline(function: F) -> F:
    """As `jit`, put into its callers whole: a call with many arrays counts references to each."""
    return cast(
        "F",
        numba.njit(cache=True, nogil=True, error_model="numpy", inline="always")(function),
    )


if config.DISABLE_JIT:  # type: ignore[attr-defined]

    def lend(array: Any, at: int) -> Any:  # noqa: ANN401 - any one-dimensional array
        """A view of `array` from `at` on."""
        return array[at:]

else:

    @intrinsic
    def lend(_typing: Any, array: Any, _at: Any) -> Any:  # noqa: ANN401 - Numba's types
        """A view of a one-dimensional `array` from `at` on, without a reference to it.

        A slice handed to another function costs two atomic operations for Numba's reference
        counts, several times what a detector itself takes. The view must not outlive the call
        it is made for; its length is that of the whole array.
        """
        signature = array(array, types.intp)

        def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:  # noqa: ANN401
            kind = sig.args[0]
            whole = arrayobj.make_array(kind)(context, builder, args[0])
            view = arrayobj.make_array(kind)(context, builder)
            arrayobj.populate_array(
                view,
                data=builder.gep(whole.data, [args[1]]),
                shape=cgutils.unpack_tuple(builder, whole.shape),
                strides=cgutils.unpack_tuple(builder, whole.strides),
                itemsize=whole.itemsize,
                meminfo=cgutils.get_null_value(view.meminfo.type),
            )
            return view._getvalue()  # noqa: SLF001 - as Numba's own array code does

        return signature, generate
