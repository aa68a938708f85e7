"""What a callback says after an iteration: a solver's, asked as `scipy.optimize.minimize` asks it, or a training run's."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from scipy.optimize import OptimizeResult

__all__ = ["asks_to_stop", "run_asks_to_stop"]


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


def run_asks_to_stop(callback: Callable[[Any], Any] | None, run: Any) -> bool:
    """Call a training run's callback after a step; whether it wants the run to end.

    Parameters
    ----------
    callback : callable or None
        ``callback(run)`` sees the whole run. A true answer or StopIteration ends it; ``None`` never does.
    run : object
        What the callback gets: a trainer, with its history.

    Examples
    --------
    >>> run_asks_to_stop(lambda steps: len(steps) > 3, [1, 2, 3, 4]), run_asks_to_stop(None, [])
    (True, False)
    """
    try:
        return callback is not None and bool(callback(run))
    except StopIteration:
        return True
