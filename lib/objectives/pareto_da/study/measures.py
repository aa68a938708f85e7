"""What the chapter measures on outcomes: rank correlations, spreads."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from lib import checks

from .protocols import Outcome

Floats = npt.NDArray[np.float64]


def rank_correlation(outcome: Outcome) -> float:
    """Spearman's correlation of held-out loss and error on the target over the steps looked at, the first left out.

    Parameters
    ----------
    outcome : Outcome
        With at least three looks behind the first.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import Outcome, rank_correlation
    >>> rank_correlation(Outcome("M-O", [0, 1, 2, 3], [0.1, 0.2, 0.3, 0.4], [0.0, -1.0, -1.5, -2.0]))
    1.0
    """
    if len(outcome.steps) < 4:
        raise ValueError(f"outcome must have at least three looks behind the first, got {len(outcome.steps)} in all")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spearmanr(outcome.val_loss[1:], 1 - np.array(outcome.accuracy[1:])).statistic
    return 0.0 if np.isnan(found) else float(round(found, 12))


def spread(outcomes: Sequence[Sequence[Outcome]]) -> Floats:
    """Largest minus smallest last accuracy over settings, for each start: shape (starts,).

    Parameters
    ----------
    outcomes : sequence of sequences of Outcome
        For each setting, one outcome for each start.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import Outcome, spread
    >>> spread([[Outcome("M-O", accuracy=[0.5])], [Outcome("M-O", accuracy=[0.75])]]).tolist()
    [0.25]
    """
    if not len(outcomes):
        raise ValueError("outcomes must not be empty")
    last = np.array([[outcome.last for outcome in setting] for setting in outcomes])
    return checks.array("outcomes", last.max(0) - last.min(0))
