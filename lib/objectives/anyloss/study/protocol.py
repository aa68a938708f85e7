"""The paper's experiments: stratified cross-validation of many methods on one data set.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024).
Ten stratified folds, shuffled with random state 2; each metric is averaged over the folds. All perceptrons of a fold
train as one stack. Resampling happens on the training fold only, as do thresholds and the scaling of features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import StratifiedKFold

from lib import checks
from lib.objectives.anyloss import functional
from lib.objectives.anyloss.functional import Metric
from lib.objectives.anyloss.perceptron import Objective, add_intercept, train_perceptrons
from lib.objectives.anyloss.study.evaluation import METRICS, FoldScores, hard_scores, require_package, tune_threshold
from lib.objectives.anyloss.study.network import Criterion, predict_probs, train_network

Array = NDArray[np.float64]
RESAMPLERS = {"smote": ("imblearn.over_sampling", "SMOTE"), "under": ("imblearn.under_sampling", "RandomUnderSampler")}


@dataclass(frozen=True)
class Method:
    """A learner with what is done around it.

    Attributes
    ----------
    learner : Objective or scikit-learn classifier
        An `Objective` is trained as a perceptron; a classifier is cloned and fitted.
    tune : str or callable, optional
        Score for which the decision threshold is tuned on the training fold; by default it stays where it is.
    resample : {"smote", "under"}, optional
        Resample the training fold by imbalanced-learn: SMOTE, or random undersampling of the majority.
    ratio : float, default=0.2 (the paper's value on its Random and Breast sets; 0.1 on the others)
        Minority size over majority size after resampling.
    """

    learner: Objective | BaseEstimator
    tune: str | Metric | None = None
    resample: str | None = None
    ratio: float = 0.2

    def __post_init__(self) -> None:
        if self.resample is not None and self.resample not in RESAMPLERS:
            raise ValueError(f"resample must be one of {tuple(RESAMPLERS)} or None, got {self.resample!r}")
        checks.number("ratio", self.ratio, above=0, high=1)


def resample(X: ArrayLike, y: ArrayLike, how: str, ratio: float = 0.2, seed: int = 0) -> tuple[Array, NDArray]:
    """Bring minority size / majority size up to ``ratio`` by imbalanced-learn; unchanged where it is already there.

    Raises
    ------
    ImportError
        imbalanced-learn is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.objectives.anyloss.study import resample
    >>> X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 10 == 0
    >>> int(resample(X, y, "under", 0.5)[1].sum())
    6
    """
    X, positive = checks.array("X", X, ndim=2), functional.check_target(y, "y")
    checks.choice("how", how, tuple(RESAMPLERS))
    ratio, seed = checks.number("ratio", ratio, above=0, high=1), checks.integer("seed", seed, low=0)
    if positive.shape != X.shape[:1]:
        raise ValueError(f"X and y must have equally many rows, got {X.shape} and {positive.shape}")
    counts = np.array([np.count_nonzero(~positive), np.count_nonzero(positive)])
    if counts.min() >= int(ratio * counts.max()):  # imbalanced-learn refuses to add less than one sample
        return X, positive
    module, name = RESAMPLERS[how]
    sampler = getattr(require_package(module, "imbalanced-learn"), name)(sampling_strategy=ratio, random_state=seed)
    return sampler.fit_resample(X, positive)


def cross_validate(
    X: ArrayLike,
    y: ArrayLike,
    methods: Mapping[str, Method | Objective | BaseEstimator],
    *,
    n_splits: int = 10,
    seed: int = 2,
    max_iter: int = 1000,
    standardize: bool = False,
    resample_seed: int = 0,
    metrics: Sequence[str] = METRICS,
) -> FoldScores:
    """Test scores of many methods over stratified folds.

    Parameters
    ----------
    X : array_like, shape (n, d)
        Features, without a column of ones.
    y : array_like, shape (n,)
        Labels 0/1, -1/+1 or bool.
    methods : mapping of str to Method, Objective or scikit-learn classifier
        What to compare; `paper_objectives` gives the paper's nine.
    n_splits, seed : int, default=10 and 2 (the paper's values)
        Of ``StratifiedKFold(shuffle=True)``.
    max_iter : int, default=1000 (the paper's value)
        Steps of the perceptrons.
    standardize : bool, default=False
        Scale features by mean and standard deviation of the training fold.
    resample_seed : int, default=0 (the paper's value)
        Of the resampling.
    metrics : sequence of str, default=METRICS
        Names of scores.

    Returns
    -------
    FoldScores
        Values of shape (methods, n_splits, metrics).

    Raises
    ------
    ValueError
        From the checks of the data, or a fold without one of the classes.
    ImportError
        A method resamples and imbalanced-learn is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.objectives.anyloss import Objective
    >>> from lib.objectives.anyloss.study import cross_validate
    >>> X, y = np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 2
    >>> scores = cross_validate(X, y, {"F1": Objective("anyloss", 0.01)}, n_splits=3, max_iter=10)
    >>> scores["F1", "f1"].shape
    (3,)
    """
    max_iter, resample_seed = checks.integer("max_iter", max_iter, low=1), checks.integer("resample_seed", resample_seed, low=0)
    named = {name: m if isinstance(m, Method) else Method(m) for name, m in methods.items()}

    def decide(X_train: Array, y_train: NDArray, X_test: Array) -> dict[str, NDArray[np.bool_]]:
        return _decide(X_train, y_train, X_test, named, max_iter, resample_seed)

    return _score_folds(X, y, tuple(named), decide, n_splits, seed, standardize, metrics)


def cross_validate_networks(
    X: ArrayLike,
    y: ArrayLike,
    criteria: Mapping[str, Criterion | tuple[Criterion, Mapping[str, Any]]],
    *,
    n_splits: int = 10,
    seed: int = 2,
    standardize: bool = False,
    network_seed: int = 0,
    metrics: Sequence[str] = METRICS,
    **training: Any,
) -> FoldScores:
    """The same for networks: one network with fresh weights per fold and criterion, cut at 1/2.

    Parameters
    ----------
    X, y, n_splits, seed, standardize, metrics
        As in `cross_validate`.
    criteria : mapping of str to criterion, or to a pair (criterion, settings)
        Losses of probabilities; settings of `train_network` for this criterion alone.
    network_seed : int, default=0
        Of weights and batches; fold f uses network_seed + f for all criteria.
    **training
        Settings of `train_network` for all criteria.

    Returns
    -------
    FoldScores
    """
    pairs = {name: c if isinstance(c, tuple) else (c, {}) for name, c in criteria.items()}
    fold_seeds = iter(range(network_seed, network_seed + n_splits))

    def decide(X_train: Array, y_train: NDArray, X_test: Array) -> dict[str, NDArray[np.bool_]]:
        fold_seed = next(fold_seeds)
        trained = {
            name: train_network(X_train, y_train, criterion, seed=fold_seed, **{**training, **settings})
            for name, (criterion, settings) in pairs.items()
        }
        return {name: predict_probs(network, X_test) > 0.5 for name, network in trained.items()}

    return _score_folds(X, y, tuple(pairs), decide, n_splits, seed, standardize, metrics)


def _score_folds(
    X: ArrayLike,
    y: ArrayLike,
    names: tuple[str, ...],
    decide: Callable[[Array, NDArray, Array], dict[str, NDArray[np.bool_]]],
    n_splits: int,
    seed: int,
    standardize: bool,
    metrics: Sequence[str],
) -> FoldScores:
    X, positive = checks.array("X", X).astype(np.float64), functional.check_target(y, "y")
    n_splits, seed = checks.integer("n_splits", n_splits, low=2), checks.integer("seed", seed, low=0, high=2**32 - 1)
    if X.ndim != 2 or positive.shape != X.shape[:1]:
        raise ValueError(f"need X of shape (n, d) and y of shape (n,), got {X.shape} and {positive.shape}")
    if not names:
        raise ValueError("nothing to compare: the mapping of methods is empty")
    values = np.empty((len(names), n_splits, len(metrics)))
    for fold, (train, test) in enumerate(_folds(positive, n_splits, seed)):
        X_train, X_test = _standardized(X[train], X[test]) if standardize else (X[train], X[test])
        decisions = decide(X_train, positive[train], X_test)
        for row, name in enumerate(names):
            values[row, fold] = hard_scores(decisions[name], positive[test], metrics)
    return FoldScores(names, tuple(metrics), values)


def _folds(positive: NDArray[np.bool_], n_splits: int, seed: int) -> Iterator[tuple[NDArray, NDArray]]:
    functional.require_both_classes(positive.sum(), (~positive).sum(), "y")
    # As integers: StratifiedKFold numbers the classes by first appearance, whatever they are.
    return StratifiedKFold(n_splits, shuffle=True, random_state=seed).split(positive[:, None], positive.astype(int))


def _standardized(X_train: Array, X_test: Array) -> tuple[Array, Array]:
    mean, std = X_train.mean(axis=0), X_train.std(axis=0)
    std[std == 0] = 1.0  # a constant column stays one
    return (X_train - mean) / std, (X_test - mean) / std


def _decide(
    X_train: Array,
    y_train: NDArray,
    X_test: Array,
    methods: Mapping[str, Method],
    max_iter: int,
    resample_seed: int,
) -> dict[str, NDArray[np.bool_]]:
    """Hard decisions of every method on the test fold."""
    decisions = {}
    for (how, ratio), group in _by_resampling(methods).items():
        data = (X_train, y_train) if how is None else resample(X_train, y_train, how, ratio, resample_seed)
        deciders = _fit_all([m.learner for m in group.values()], *data, max_iter)
        for (name, method), decider in zip(group.items(), deciders, strict=True):
            cut = 0.0 if method.tune is None else tune_threshold(decider(X_train), y_train, method.tune)
            decisions[name] = decider(X_test) > cut
    return decisions


def _by_resampling(methods: Mapping[str, Method]) -> dict[tuple[str | None, float], dict[str, Method]]:
    groups: dict[tuple[str | None, float], dict[str, Method]] = {}
    for name, method in methods.items():
        key = (method.resample, method.ratio if method.resample else 0.0)
        groups.setdefault(key, {})[name] = method
    return groups


def _fit_all(
    learners: Sequence[Objective | BaseEstimator], X: Array, y: NDArray, max_iter: int
) -> list[Callable[[Array], Array]]:
    """One real-valued decision function per learner; equal objectives are trained once, all of them in one stack."""
    objectives = list(dict.fromkeys(learner for learner in learners if isinstance(learner, Objective)))
    Theta = train_perceptrons(add_intercept(X), y, objectives, max_iter=max_iter) if objectives else np.empty((0, 0))

    def decider(learner: Objective | BaseEstimator) -> Callable[[Array], Array]:
        if isinstance(learner, Objective):
            theta = Theta[objectives.index(learner)]
            return lambda rows: rows @ theta[1:] + theta[0]
        fitted: Any = clone(learner).fit(X, np.asarray(y).astype(int))
        if hasattr(fitted, "decision_function"):
            return fitted.decision_function
        return lambda rows: logit(fitted.predict_proba(rows)[:, 1])

    return [decider(learner) for learner in learners]
