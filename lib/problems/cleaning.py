"""Cleaning of training data: some labels are wrong, a weight for each sample is learned from a few clean validation samples.

The upper level of the bilevel problem has the weights, the lower level trains the classifier. The task lives here, so that
the methods of several chapters meet on the same data; their classifiers are their own.

======================= =========================================================================================
`flip_labels`           wrong labels for a share of the samples
`cleaning_task`         a labeled set, split in three, with wrong labels in its training part
`CleaningTask`          what comes out
`validation_split`      the validation data that a classifier is given, or rows that it sets aside for it
`detection_auc`         how well low weights point to the wrong labels
======================= =========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from lib import checks

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

__all__ = ["CleaningTask", "cleaning_task", "detection_auc", "flip_labels", "validation_split"]


@dataclass(frozen=True)
class CleaningTask:
    """Training data with wrong labels, clean data to validate and to test.

    `X`, `y` are the training samples with the labels that a method sees, `flipped` says which of them are wrong, `truth` holds
    the right ones. Labels are 0, 1, ..., `n_classes` - 1.
    """

    X: Floats
    y: Ints
    truth: Ints
    X_val: Floats
    y_val: Ints
    X_test: Floats
    y_test: Ints
    n_classes: int

    @property
    def flipped(self) -> Mask:
        """Which training labels are wrong, shape (n,)."""
        return self.y != self.truth


def flip_labels(y: npt.ArrayLike, share: float, seed: int | np.random.Generator, n_classes: int | None = None) -> Ints:
    """Labels of which each is replaced, with probability `share`, by another class, all others equally likely.

    Parameters
    ----------
    y : array_like of int, shape (n,)
        Labels 0, 1, ...
    share : float
        Between 0 and 1.
    seed : int or Generator
        Of the choice of samples and of the wrong classes.
    n_classes : int, optional
        At least 2; one more than the largest label by default.

    Raises
    ------
    TypeError, ValueError
        For labels that are no integers from 0 to ``n_classes - 1``, or another argument out of range.

    Examples
    --------
    >>> from lib.problems.cleaning import flip_labels
    >>> flip_labels([0, 1, 1, 0], share=1.0, seed=0).tolist()
    [1, 0, 0, 1]
    """
    labels, count = _labels(y, n_classes)
    rng, share = checks.generator("seed", seed), checks.probability("share", share)
    chosen = rng.random(len(labels)) < share
    shift = rng.integers(1, count, size=len(labels))
    return np.where(chosen, (labels + shift) % count, labels)


def cleaning_task(
    X: npt.ArrayLike, y: npt.ArrayLike, n_train: int, n_val: int, share: float, seed: int | np.random.SeedSequence
) -> CleaningTask:
    """Split a labeled set at random and flip labels of the training part.

    Split and flips have random streams of their own: a method's random start from the same seed knows nothing of the flips.

    Parameters
    ----------
    X : array_like, shape (n, d)
    y : array_like of int, shape (n,)
        Labels 0, 1, ...
    n_train, n_val : int
        Sizes, at least 1; what is left, at least one sample, is for the test.
    share : float
        Share of wrong labels, between 0 and 1.
    seed : int or SeedSequence

    Raises
    ------
    TypeError, ValueError
        For labels that are no integers from 0, other bad arguments, or sizes that leave nothing to test.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems.cleaning import cleaning_task
    >>> task = cleaning_task(np.eye(10), np.arange(10) % 2, n_train=5, n_val=2, share=0.4, seed=0)
    >>> task.X.shape, task.X_val.shape, task.X_test.shape
    ((5, 10), (2, 10), (3, 10))
    """
    rows = checks.array("X", X, ndim=2).astype(np.float64)
    labels, count = _labels(y, None)
    if len(labels) != len(rows):
        raise ValueError(f"X and y must have as many rows, got {len(rows)} and {len(labels)}")
    n_train, n_val = checks.integer("n_train", n_train, low=1), checks.integer("n_val", n_val, low=1)
    if n_train + n_val >= len(rows):
        raise ValueError(f"n_train + n_val must be below {len(rows)}, the number of samples, got {n_train} + {n_val}")
    root = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(checks.integer("seed", seed, low=0))
    split, flips = (np.random.default_rng(np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, k))) for k in (0, 1))
    train, val, test = np.split(split.permutation(len(rows)), [n_train, n_train + n_val])
    seen = flip_labels(labels[train], share, flips, count)
    return CleaningTask(rows[train], seen, labels[train], rows[val], labels[val], rows[test], labels[test], count)


def validation_split(
    X: npt.ArrayLike, y: npt.ArrayLike, X_val: Any, y_val: Any, fraction: float, random_state: Any
) -> tuple[Ints, Floats, npt.NDArray[Any]]:
    """The rows on which a classifier trains, and the data that validate it: those that it is given, else some of its rows.

    Parameters
    ----------
    X : array_like, shape (n, d)
    y : array_like, shape (n,)
        Labels of any kind, numbers or strings.
    X_val, y_val : array_like, shapes (k, d) and (k,), or None
        Both or neither. Where there are none, a share `fraction` of the rows is drawn, stratified where the classes allow it.
    fraction : float
        Between 0 and 1, both excluded.
    random_state : None, int or Generator

    Returns
    -------
    train, val, labels : arrays, shapes (rows,), (k, d) and (k,)
        Rows of X that train; validation data and their labels.

    Raises
    ------
    TypeError, ValueError
        For bad arguments, if only one of `X_val` and `y_val` is given, or if they do not fit X and its labels.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.problems.cleaning import validation_split
    >>> train, val, labels = validation_split(np.eye(10), np.arange(10) % 2, None, None, 0.4, random_state=0)
    >>> len(train), val.shape, sorted(labels.tolist())
    (6, (4, 10), [0, 0, 1, 1])
    """
    rows, labels = checks.array("X", X, ndim=2).astype(np.float64), np.asarray(y)
    if labels.shape != (len(rows),):
        raise ValueError(f"y must hold a label for each of the {len(rows)} rows of X, got {checks.shown(y)}")
    if labels.dtype.kind not in "OUS":
        checks.array("y", labels)
    fraction = checks.number("fraction", fraction, above=0, below=1)
    if (X_val is None) != (y_val is None):
        raise ValueError("X_val and y_val go together: one of them is None")
    classes, index = np.unique(labels, return_inverse=True)
    if X_val is not None:
        given, marks = checks.array("X_val", X_val, ndim=2).astype(np.float64), np.asarray(y_val)
        if given.shape[1] != rows.shape[1]:
            raise ValueError(f"X_val must have {rows.shape[1]} features, as X, got {given.shape[1]}")
        if marks.shape != (len(given),) or not np.isin(marks, classes).all():
            raise ValueError(f"y_val must hold one of the classes of y for each of {len(given)} rows")
        return np.arange(len(rows)), given, marks
    n_val = int(np.ceil(fraction * len(rows)))
    if not 0 < n_val < len(rows):
        raise ValueError(f"X must have rows for a share of {fraction:g} to validate and others to train, got {len(rows)}")
    fits = min(n_val, len(rows) - n_val) >= len(classes) and min(np.bincount(index)) >= 2
    chosen = int(checks.generator("random_state", random_state).integers(2**31))
    train, val = train_test_split(
        np.arange(len(rows)), test_size=fraction, stratify=index if fits else None, random_state=chosen
    )
    return train, rows[val], labels[val]


def detection_auc(weights: npt.ArrayLike, flipped: npt.ArrayLike) -> float:
    """Probability that a wrongly labeled sample has a lower weight than a rightly labeled one (area under the ROC curve).

    Parameters
    ----------
    weights : array_like, shape (n,)
        Learned weights, or anything that rises with them.
    flipped : array_like of bool, shape (n,)

    Raises
    ------
    TypeError, ValueError
        For arrays of different lengths, NaN, or flips of which there are none or only such.

    Examples
    --------
    >>> from lib.problems.cleaning import detection_auc
    >>> detection_auc([0.1, 0.9, 0.8], [True, False, False])
    1.0
    """
    scores, wrong = checks.array("weights", weights, ndim=1), np.asarray(flipped)
    if wrong.shape != scores.shape or wrong.dtype != bool:
        raise ValueError(f"flipped must hold {len(scores)} booleans, got {checks.shown(wrong)}")
    if wrong.all() or not wrong.any():
        raise ValueError(f"flipped must hold right and wrong labels, got {int(wrong.sum())} wrong of {len(wrong)}")
    return float(roc_auc_score(wrong, -scores))


def _labels(y: npt.ArrayLike, n_classes: int | None) -> tuple[Ints, int]:
    given = checks.array("y", y, ndim=1, low=0)
    if (given != np.floor(given)).any():
        raise ValueError(f"y must hold integers from 0, got {checks.shown(given)}")
    labels = given.astype(np.int64)
    count = max(int(labels.max()) + 1, 2) if n_classes is None else checks.integer("n_classes", n_classes, low=2)
    if labels.max() >= count:
        raise ValueError(f"y must hold integers below n_classes = {count}, got {labels.max()}")
    return labels, count
