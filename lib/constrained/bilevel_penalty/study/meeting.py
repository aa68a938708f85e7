"""Another method's loop on the same cleaning task, at the same number of gradients: where two chapters meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lib import checks

from .cleaning import CleaningRun, SoftmaxCleaning, _finished


def clean_by(cleaning: SoftmaxCleaning, step: Callable[[Any], Any], state: Any, calls: int, calls_a_step: int) -> CleaningRun:
    """Run any loop on a cleaning task, and judge its weights as those of the task's own methods are judged.

    Parameters
    ----------
    cleaning : SoftmaxCleaning
        Its `problem` is what the loop works on.
    step : callable
        A state to the next one; states have the upper-level variable ``x``, shape (n,).
    state : object
        The first state.
    calls : int
        Budget in gradients of one function at all samples, at least `calls_a_step`.
    calls_a_step : int
        What one step spends, at least 1.

    Returns
    -------
    CleaningRun

    Raises
    ------
    TypeError, ValueError
        For something that is no task or no function, or numbers out of range.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import numpy as np
    >>> from lib.constrained.bilevel_penalty.study import SoftmaxCleaning
    >>> from lib.constrained.bilevel_penalty.study.meeting import clean_by
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10)[np.arange(20) % 2], np.arange(20) % 2, n_train=10, n_val=5, share=0.4, seed=0)
    >>> cleaning = SoftmaxCleaning(task)
    >>> clean_by(cleaning, lambda state: state, SimpleNamespace(x=cleaning.x0), calls=10, calls_a_step=4).calls
    8
    """
    if not isinstance(cleaning, SoftmaxCleaning):
        raise TypeError(f"cleaning must be a SoftmaxCleaning, got {checks.shown(cleaning)}")
    checks.function("step", step)
    price = checks.integer("calls_a_step", calls_a_step, low=1)
    steps = checks.integer("calls", calls, low=price) // price
    for _ in range(steps):
        state = step(state)
    return _finished(cleaning, state.x, steps * price)
