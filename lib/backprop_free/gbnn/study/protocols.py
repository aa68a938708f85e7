"""The experiments: what is trained on which rows, and what is measured."""

from __future__ import annotations

import math
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import rankdata, studentized_range
from sklearn.neural_network import MLPClassifier

from lib.backprop_free.gbnn import mean_loss, newton_step
from lib.backprop_free.gbnn.study.pruning import kept_units, pruned_accuracies, refit_accuracies
from lib.backprop_free.gbnn.study.rivals import GRIDS, SWITCHED, fitted, make
from lib.backprop_free.gbnn.study.sets import Split, split
from lib.experiment import time_ratio

Floats = npt.NDArray[np.float64]


def seed_of(rng: np.random.Generator) -> int:
    """An integer seed drawn from a generator."""
    return int(rng.integers(2**31))


def error_of(estimator: Any, X: Floats, y: npt.NDArray, regression: bool) -> float:
    """Share of wrong labels, or the root of the mean squared error."""
    predicted = estimator.predict(X)
    return float(np.sqrt(np.mean((predicted - y) ** 2)) if regression else np.mean(predicted != y))


def drawn(rng: Any, what: str, name: str, index: int, n_train: int, n_test: int = 1000) -> tuple[Split, int]:
    """The split of a set that an experiment uses, and the seed of its models.

    No split is one of those on which grids and rules were first chosen: those streams had no "rows" among their axes.
    """
    stream = rng("rows", what, name, index)
    return split(name, stream, n_train, n_test), seed_of(stream)


def best_setting(
    method: str, grid: tuple[Any, ...], part: Split, seed: int, n_units: int, regression: bool, folds: int, **more: Any
) -> Any:
    """The setting of a grid with the lowest mean error on held-out rows.

    These are one half of the training rows (``folds=1``), or each half in turn; the other half trains. The first of equal
    settings wins; a run that diverges loses.
    """
    halves = np.array_split(np.arange(len(part.y)), 2)
    pairs = [(halves[0], halves[1]), (halves[1], halves[0])][:folds]
    errors = []
    for value in grid:
        try:
            errors.append(fmean(_held_out(make(method, value, seed, n_units, regression, **more), part, *p) for p in pairs))
        except ValueError:  # weights that are not finite
            errors.append(math.inf)
    return grid[int(np.argmin(np.round(errors, 9)))]


def tuned(
    method: str, part: Split, seed: int, n_units: int, regression: bool, folds: int = 2, **more: Any
) -> tuple[float, bool, Any]:
    """Test error with the best setting of a method's grid, trained on all rows; whether it is at an edge; the setting.

    See `best_setting` and `at_an_edge`.
    """
    grid = GRIDS[method][1]
    best = best_setting(method, grid, part, seed, n_units, regression, folds, **more)
    final = fitted(make(method, best, seed, n_units, regression, **more), part.X, part.y)
    return error_of(final, part.X_test, part.y_test, regression), at_an_edge(best, grid), best


def _held_out(estimator: Any, part: Split, rows: npt.NDArray, held: npt.NDArray) -> float:
    model = fitted(estimator, part.X[rows], part.y[rows])
    return error_of(model, part.X[held], part.y[held], not hasattr(model, "classes_"))


def at_an_edge(chosen: tuple[Any, ...], grid: tuple[Any, ...]) -> bool:
    """Whether a setting's penalty or learning rate ends the grid among the settings with the same other entries.

    Ends that bound it anyway (no penalty, full steps) are no edges.
    """
    values = [value[0] for value in grid if value[1:] == chosen[1:]]
    return chosen[0] in (min(values), max(values)) and chosen[0] not in (0.0, 1.0)


def race(rng: Any, name: str, index: int, n_train: int, n_units: int, regression: bool = False, **more: Any) -> dict[str, Any]:
    """Every method, tuned, on one split of a set: method -> (test error, whether its setting is at an edge, setting)."""
    part, seed = drawn(rng, "race", name, index, n_train)
    return {method: tuned(method, part, seed, n_units, regression, **more) for method in GRIDS}


def mean_ranks(behind: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean rank of each method over the sets (1 the best, ties shared), from the rivals' errors minus GBNN's, by set."""
    names = next(iter(behind.values()))
    errors = np.array([[0.0] * len(names), *([row[name] for name in names] for row in behind.values())])
    ranks = rankdata(np.round(errors, 6), axis=0).mean(axis=1)
    return dict(zip(("GBNN", *behind), ranks.tolist(), strict=True))


def nemenyi(n_methods: int, n_sets: int) -> float:
    """Critical difference of mean ranks at level 0.05 (Demsar 2006)."""
    quantile = studentized_range.ppf(0.95, n_methods, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(n_methods * (n_methods + 1) / (6 * n_sets)))


def switch_off(
    rng: Any, name: str, index: int, n_train: int, counts: list[int], retrain: list[int], max_iter: int, effort: int
) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Test accuracy when only some of the units are used: name of the method -> one number for each count; the settings.

    GBNN, with one unit a step, and Adam are tuned as whole networks over `SWITCHED`; smaller networks have Adam's setting.
    """
    part, seed = drawn(rng, "switch off", name, index, n_train, 2000)
    total = max(counts)
    more: dict[str, Any] = {"effort": effort}
    own: dict[str, dict[str, Any]] = {"GBNN": more | {"units_per_step": 1, "max_iter": max_iter}, "Adam": more}
    best = {m: best_setting(m, SWITCHED[m], part, seed, total, False, 1, **own[m]) for m in SWITCHED}
    models = {m: fitted(make(m, value, seed, total, **own[m]), part.X, part.y) for m, value in best.items()}
    adam, staged = models["Adam"], models["GBNN"].staged_score(part.X_test, part.y_test)
    found = {"GBNN": np.array([staged[min(k, len(staged)) - 1] for k in counts])}
    for rule in ("first", "ranked"):
        order = kept_units(adam, part.X, rule)
        found[f"Adam, {rule}"] = pruned_accuracies(adam, part, order, counts)
    found["Adam, refit"] = refit_accuracies(adam, part, kept_units(adam, part.X, "ranked"), retrain)
    smaller = [fitted(make("Adam", best["Adam"], seed, k, **more), part.X, part.y) for k in retrain]
    small = [network.score(part.X_test, part.y_test) for network in smaller]
    return found | {"Adam, retrained": np.array(small)}, best


#: Networks trained as a whole without penalty, by width: name -> method, activation.
UNBRAKED = {
    "Adam": ("Adam", "relu"),
    "Adam, logistic": ("Adam", "logistic"),
    "L-BFGS": ("L-BFGS", "logistic"),
    "L-BFGS, relu": ("L-BFGS", "relu"),
}


def widths(rng: Any, name: str, index: int, n_train: int, counts: list[int], max_iter: int, effort: int) -> dict[str, Floats]:
    """Test accuracy by number of hidden units: GBNN, in stages; `UNBRAKED` networks trained anew."""
    part, seed = drawn(rng, "widths", name, index, n_train)
    found = {}
    for label, rate, J in (("GBNN, 0.5", 0.5, 3), ("GBNN, 0.1", 0.1, 3), ("GBNN, 0.1, J = 1", 0.1, 1)):
        model = make("GBNN", rate, seed, max(counts), units_per_step=J, max_iter=max_iter).fit(part.X, part.y)
        staged = model.staged_score(part.X_test, part.y_test)
        found[label] = np.array([staged[min(k // J, len(staged)) - 1] for k in counts])
    for label, (method, kind) in UNBRAKED.items():
        models = [fitted(make(method, (0.0, kind), seed, k, effort=effort), part.X, part.y) for k in counts]
        found[label] = np.array([1 - error_of(model, part.X_test, part.y_test, False) for model in models])
    return found


def lost_at_the_widest(first: Floats, second: Floats) -> list[float]:
    """Accuracy lost by the widest network against the width that is best on the other of two splits, for each split."""
    return [float(b[np.argmax(np.round(a, 9))] - b[-1]) for a, b in ((first, second), (second, first))]


def heads(rng: Any, index: int, n_train: int, n_units: int, max_iter: int, effort: int) -> dict[str, float]:
    """Accuracy on digits of a deep network, and of other layers on its frozen last hidden layer of 32 units."""
    part, seed = drawn(rng, "heads", "digits", index, n_train)
    deep = fitted(
        MLPClassifier((64, 32), learning_rate_init=0.003, max_iter=max(1, effort // 2), random_state=seed), part.X, part.y
    )
    H, H_test = (hidden(deep, X).round(4) for X in (part.X, part.X_test))
    scale = H.std() or 1.0
    boosted = make("GBNN", 0.5, seed, n_units, max_iter=max_iter).fit(H / scale, part.y)
    flat = fitted(make("Adam", 0.1, seed, n_units, effort=effort), H / scale, part.y)
    found = {"its own softmax": deep.score(part.X_test, part.y_test)}
    return found | {"GBNN": boosted.score(H_test / scale, part.y_test), "Adam": flat.score(H_test / scale, part.y_test)}


def hidden(network: MLPClassifier, X: Floats) -> Floats:
    """Outputs of the last hidden layer of a network of rectified linear units."""
    for W, b in zip(network.coefs_[:-1], network.intercepts_[:-1], strict=True):
        X = np.maximum(X @ W + b, 0)
    return X


#: Learning rate and subsample, from full steps on all rows to both brakes.
BRAKES = ((1.0, 1.0), (1.0, 0.5), (0.1, 1.0), (0.1, 0.5))


def shrinkage(rng: Any, name: str, index: int, n_train: int, n_units: int, max_iter: int) -> Floats:
    """Test accuracy with each of `BRAKES`; then with the last and twice the iterations a piece."""
    part, seed = drawn(rng, "shrinkage", name, index, n_train)
    models = [make("GBNN", brakes, seed, n_units, max_iter=max_iter) for brakes in BRAKES]
    models.append(make("GBNN", BRAKES[-1], seed, n_units, max_iter=2 * max_iter))
    return np.array([fitted(model, part.X, part.y).score(part.X_test, part.y_test) for model in models])


def last_digit(rng: Any, name: str, index: int, n_train: int, n_units: int, **more: Any) -> dict[str, Any]:
    """Scores on the test rows: trained as it is, with the last digit of the features changed, with another seed."""
    part, seed = drawn(rng, "last digit", name, index, n_train)
    moved = part.X * (1 + np.finfo(float).eps * rng("digits", name, index).integers(-1, 2, part.X.shape))
    found = {}
    for kind, X, own in (("as it is", part.X, seed), ("last digit", moved, seed), ("seed", part.X, seed + 1)):
        model = make("GBNN", 0.5, own, n_units, **more).fit(X, part.y)
        found[kind] = model.decision_function(part.X_test)
    return found


def newton_rules(
    part: Split, seed: int, n_units: int, max_iter: int, names: tuple[str, ...] = ("diagonal", "exact", "line search", "none")
) -> tuple[dict[str, tuple[Floats, float]], list[float]]:
    """Training losses and test accuracy with each rule of the step; how much longer the diagonal one is, step by step.

    The latter is empty where "exact" is not among `names`: steps are compared at the scores of its run.
    """
    longer: list[float] = []

    def exact(y: Floats, F: Floats, h: Floats) -> float:
        steps = [newton_step(y, F, h, "softmax", curvature) for curvature in ("diagonal", "exact")]
        longer.append(steps[0] / steps[1])
        return steps[1]

    def line_search(y: Floats, F: Floats, h: Floats) -> float:
        return float(minimize_scalar(lambda rho: mean_loss(y, F + rho * h, "softmax"), bounds=(0, 100), method="bounded").x)

    rules: dict[str, Any] = {"diagonal": "diagonal", "exact": exact, "line search": line_search, "none": "none"}
    found = {}
    for name in names:
        model = make("GBNN", 0.2, seed, n_units, newton=rules[name], max_iter=max_iter).fit(part.X, part.y)
        found[name] = model.train_losses_, float(model.score(part.X_test, part.y_test))
    return found, longer


def full_steps(rng: Any, name: str, index: int, n_train: int, n_units: int, max_iter: int) -> dict[str, tuple[Floats, float]]:
    """Training losses and test accuracy with learning rate 1 and all rows, by Newton rule."""
    part, seed = drawn(rng, "full steps", name, index, n_train)
    found = {}
    for rule in ("diagonal", "exact"):
        model = make("GBNN", (1.0, 1.0), seed, n_units, newton=rule, max_iter=max_iter)
        losses = fitted(model, part.X, part.y).train_losses_
        found[rule] = losses, float(model.score(part.X_test, part.y_test))
    return found


def costs(part: Split, n_units: int, n_demo: int, max_iter: int, effort: int) -> dict[str, float]:
    """Ratios of seconds: GBNN to Adam and to trees, all steps to half of them, prediction with 40 % of the units to all."""

    def training(method: str, value: float, total: int, **more: Any) -> Any:
        return lambda: fitted(make(method, value, 0, total, effort=effort, **more), part.X, part.y)

    boosted = training("GBNN", 0.2, n_units, max_iter=max_iter)
    narrow = [training("GBNN", 0.2, n_demo // k, units_per_step=1, max_iter=max_iter) for k in (1, 2)]
    whole = narrow[0]()
    shorter, rows = whole.truncate(4 * n_demo // 10), np.tile(part.X, (40, 1))
    return {
        "adam": time_ratio(boosted, training("Adam", 0.1, n_units), 1),
        "trees": time_ratio(boosted, training("trees", 0.08, n_units), 1),
        "steps": time_ratio(narrow[0], narrow[1], 1),
        "prediction": time_ratio(lambda: shorter.predict(rows), lambda: whole.predict(rows), 9),
    }
