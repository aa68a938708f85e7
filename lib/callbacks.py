"""What a solver's callback says, asked as `scipy.optimize.minimize` asks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from scipy.optimize import OptimizeResult

__all__ = ["asks_to_stop"]


def asks_to_stop(callback: Callable[..., Any], state: OptimizeResult) -> bool:
    """Call a callback after an iteration; whether it wants the run to end.

    Parameters
    ----------
    callback : callable
        ``callback(intermediate_result)`` gets the whole state, under any other name of its argument only ``x``; as in SciPy.
        A true answer or StopIteration ends the run.
    state : OptimizeResult
        With ``x`` at least.

    Examples
    --------
    >>> from scipy.optimize import OptimizeResult
    >>> asks_to_stop(lambda intermediate_result: intermediate_result.nit > 3, OptimizeResult(x=[1.0], nit=4))
    True
    """
    try:
        if hasattr(callback, "stop_iteration"):  # wrapped by scipy.optimize.minimize
            return bool(callback(state))
        if "intermediate_result" in inspect.signature(callback).parameters:
            return bool(callback(intermediate_result=state))
        return bool(callback(state.x))
    except StopIteration:
        return True
