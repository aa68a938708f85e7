"""The convex problems of the comparison: logistic regressions on KEEL sets, named with their number of classes."""

from __future__ import annotations

import re

from lib import checks, data
from lib.problems.logistic import LogisticRegression, SoftmaxRegression


def keel_problem(name: str) -> LogisticRegression | SoftmaxRegression:
    """Logistic regression, standardized and without penalty, on an imbalanced or a standard KEEL set.

    Parameters
    ----------
    name : str
        ``"vehicle0"``: an imbalanced two-class set (`lib.data.keel`). ``"vehicle (4)"``: a standard set
        (`lib.data.keel_multiclass`), which must have the number of classes in parentheses.

    Raises
    ------
    ValueError
        For a set that is unknown or has another number of classes.

    Examples
    --------
    >>> from lib.gradient.lr_refinement.study import keel_problem
    >>> keel_problem("vehicle (4)").dim
    76
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a text, got {checks.shown(name)}")
    match = re.fullmatch(r"(\S+) \((\d+)\)", name)
    if not match:
        return LogisticRegression(*data.keel(name))
    X, y = data.keel_multiclass(match[1])
    if y.max() + 1 != int(match[2]):
        raise ValueError(f"{match[1]} has {y.max() + 1} classes, the name says {match[2]}")
    return LogisticRegression(X, y) if match[2] == "2" else SoftmaxRegression(X, y)


def batch_rows(n: int, epoch_steps: int, least: int = 16) -> int:
    """Rows of a minibatch: `least`, or more where an epoch of `n` rows would take more than `epoch_steps` steps.

    Examples
    --------
    >>> from lib.gradient.lr_refinement.study import batch_rows
    >>> batch_rows(846, 150), batch_rows(6435, 150)
    (16, 43)
    """
    n, least = checks.integer("n", n, low=1), checks.integer("least", least, low=1)
    epoch_steps = checks.integer("epoch_steps", epoch_steps, low=1)
    return min(n, max(least, -(-n // epoch_steps)))
