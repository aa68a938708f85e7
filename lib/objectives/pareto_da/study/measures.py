"""What the chapter measures on outcomes, and how well first order and stacking hold."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor

from lib import checks
from lib.objectives.pareto_da.adaptation import METHODS, Adaptation, ramp_at
from lib.objectives.pareto_da.networks import mlp, seeded

from .protocols import Outcome, Start, Variant, branch
from .stacked import train_together, warm_together

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


def first_order_errors(
    run: Adaptation, batch: Sequence[Tensor], etas: Sequence[float] = (1e-3, 5e-4)
) -> npt.NDArray[np.float64]:
    """How far the three losses are from what first order predicts, for steps of these lengths along the mean gradient.

    Parameters
    ----------
    run : Adaptation
        After at least one step, so that the reversed gradient is not 0; it is copied.
    batch : four tensors
        As `Adaptation.step` takes them.
    etas : sequence of float
        Step lengths, above 0.

    Returns
    -------
    array, shape (3, len(etas))
        Absolute errors of source, reversed domain and target loss.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import Variant, compare, first_order_errors, warm_starts
    >>> start = warm_starts(["M-O"], n=60, warmup=2, seeds=[0])[0]
    >>> run = compare([start], [Variant("sum", "sum")], iterations=2)["sum"][0].run
    >>> first_order_errors(run, (start.X, start.y, start.target, start.held_out), etas=(1e-3,)).shape
    (3, 1)
    """
    lengths = checks.array("etas", etas, ndim=1, above=0)
    told = run.gradients(*batch)
    G, factor = told.G.double(), np.array([1.0, -ramp_at(run.step_count, run.ramp), 1.0])
    before, w = np.array(told.losses) * factor, torch.full((3,), 1 / 3, dtype=torch.float64)
    expected, errors = (G @ (w @ G)).numpy(), []
    for eta in lengths:
        moved = copy.deepcopy(run)
        with torch.no_grad():
            pieces = (w @ G).split([p.numel() for p in moved.shared])
            for p, piece in zip(moved.shared, pieces, strict=True):
                p -= float(eta) * piece.view_as(p)
        after = np.array(moved.gradients(*batch).losses) * factor
        errors.append(np.abs(after - before + eta * expected))
    return np.array(errors).T


def relative_slack(outcome: Outcome) -> Floats:
    """Least slack of each step's constraints, over the largest product of its gradients: shape (steps,).

    It is computed anew from the record: from the weights taken, the products of the gradients, and the mode.

    Parameters
    ----------
    outcome : Outcome
        Of ParetoDA.

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import Variant, compare, relative_slack, warm_starts
    >>> starts = warm_starts(["M-O"], n=60, warmup=2, seeds=[0])
    >>> found = compare(starts, [Variant("ParetoDA")], iterations=3)["ParetoDA"][0]
    >>> bool((relative_slack(found) > -1e-7).all())
    True
    """
    found, told = [], outcome.history
    for C, a, w, mode in zip(told["grams"], told["guides"], told["weights"], told["modes"], strict=True):
        agrees = (a > 0).any() and mode == "guided"
        bounds = [0.0 if not agrees or j == a.argmax() else -np.inf if a[j] > 0 else a[j] for j in range(3)]
        found.append(float((C @ w / 3 - bounds).min() / np.abs(C).max()))
    return np.array(found)


def stacked_difference(seed: int) -> float:
    """Largest difference of parameters between runs trained together and the same runs one by one; see `train_together`.

    Parameters
    ----------
    seed : int

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import stacked_difference
    >>> stacked_difference(seed=0) < 1e-10
    True
    """
    rng = np.random.default_rng(checks.integer("seed", seed, low=0))
    X, y = torch.from_numpy(rng.random((40, 6))), torch.from_numpy(rng.integers(3, size=40))
    with seeded(int(rng.integers(2**31))):
        net = mlp([6, 8, 5], last=True).double()
    runs = [Adaptation(net, 5, 3, method=method, lr=0.05, ramp=2.0, hidden=6, seed=1) for method in METHODS]
    alone = copy.deepcopy(runs)
    warm, *rows = (rng.integers(40, size=(4, len(runs), 16)) for _ in range(4))
    many = X.expand(len(runs), -1, -1)
    warm_together(runs, many, y.expand(len(runs), -1), warm, 0.1)
    train_together(runs, (many, y.expand(len(runs), -1), many, many), tuple(rows))  # type: ignore[arg-type]
    for r, run in enumerate(alone):
        for t in range(4):
            run.warm_up(X[warm[t, r]], y[warm[t, r]], lr=0.1)
        for t in range(4):
            run.step(X[rows[0][t, r]], y[rows[0][t, r]], X[rows[1][t, r]], X[rows[2][t, r]])
    pairs = [(p, q) for one, other in zip(runs, alone, strict=True) for p, q in
             zip([*one.shared, *one.others], [*other.shared, *other.others], strict=True)]  # fmt: skip
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


def stepper(start: Start, variant: Variant) -> Callable[[], None]:
    """A function that takes one adaptation step from a start, the same each time: for timing.

    Parameters
    ----------
    start : Start
    variant : Variant

    Examples
    --------
    >>> from lib.objectives.pareto_da.study import Variant, stepper, warm_starts
    >>> stepper(warm_starts(["M-O"], n=60, warmup=1, seeds=[0])[0], Variant("sum", "sum"))()
    """
    run = branch(start.run, variant, 10)
    return functools.partial(_one_step, run, (start.X[:32], start.y[:32], start.target[:32], start.held_out[:32]))


def _one_step(run: Adaptation, batch: Sequence[Tensor]) -> None:
    run.step(*batch)
