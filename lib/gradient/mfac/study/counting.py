"""Operations counted, not timed: what a promise like O(d m^2) is about, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lib import checks

_ENTRYWISE = {"mul", "div", "add", "sub", "rsub", "pow", "mul_", "div_", "add_", "sub_"}


class _Counter(TorchDispatchMode):
    """Adds up multiplications (with the additions that go with them) of all tensor operations in its block."""

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.total += _cost(func.__name__.split(".")[0], args, result)
        return result


def _cost(name: str, args: Any, result: Any) -> int:
    if name in ("mm", "bmm"):
        return args[0].numel() * args[1].shape[-1]
    if name in ("mv", "dot"):
        return args[0].numel()
    if name in ("addmm", "baddbmm"):
        return args[1].numel() * args[2].shape[-1]
    if name == "linalg_cholesky_ex":
        return args[0].shape[-1] ** 3 // 3
    if name == "cholesky_solve":
        return 2 * args[1].shape[-1] * args[0].numel()
    if name == "linalg_solve_triangular":
        return args[0].shape[-1] * args[1].numel() // 2
    if name == "linalg_inv_ex":
        return args[0].shape[-1] ** 3
    if name == "sum":
        return args[0].numel()
    return result.numel() if name in _ENTRYWISE and isinstance(result, torch.Tensor) else 0


def count_operations(call: Callable[[], Any]) -> int:
    """How many multiplications (each with its addition) a call makes in torch.

    Counted are products of matrices and vectors, factorizations, triangular solves, sums and entrywise arithmetic.

    Parameters
    ----------
    call : function
        Called once, without arguments.

    Examples
    --------
    >>> import torch
    >>> from lib.gradient.mfac.study import count_operations
    >>> count_operations(lambda: torch.ones(3, 4) @ torch.ones(4, 5))
    60
    """
    checks.function("call", call)
    counter = _Counter()
    with counter:
        call()
    return counter.total


def slope(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The power with which costs grow: the slope of a line fitted to both logarithms.

    Examples
    --------
    >>> from lib.gradient.mfac.study import slope
    >>> round(slope([1, 2, 4], [3, 12, 48]), 3)
    2.0
    """
    x = checks.array("sizes", sizes, ndim=1, above=0)
    y = checks.array("costs", costs, shape=(len(x),), above=0)
    if len(x) < 2 or np.ptp(x) == 0:
        raise ValueError("sizes must hold at least two different ones")
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
