"""Data sets of the experiments, and their splits into standardized halves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_diabetes, make_friedman1
from sklearn.preprocessing import StandardScaler

import lib.data
from lib import checks

Floats = npt.NDArray[np.float64]

#: Classification: two classes, then more.
CLASSIFICATION = (
    "pima", "haberman", "yeast1", "glass1", "wisconsin", "breast_cancer", "spambase", "vehicle", "contraceptive", "segment",
    "vowel", "digits", "wine",
)  # fmt: skip
REGRESSION = ("diabetes", "friedman")


class Split(NamedTuple):
    """Rows to train on and rows to test on; features, and numbers y, have mean 0 and deviation 1 on the former."""

    X: Floats
    y: npt.NDArray
    X_test: Floats
    y_test: npt.NDArray


def load(name: str, rng: np.random.Generator) -> tuple[Floats, npt.NDArray]:
    """Features and target; only ``"friedman"`` draws (500 rows of Friedman's first function with unit noise)."""
    checks.choice("name", name, CLASSIFICATION + REGRESSION)
    if name == "diabetes":
        return load_diabetes(return_X_y=True)
    if name == "friedman":
        return make_friedman1(500, noise=1.0, random_state=int(rng.integers(2**31)))
    if name in ("breast_cancer", "digits", "wine"):
        return getattr(lib.data, name)()
    read = lib.data.keel if name in lib.data.keel_names() else lib.data.keel_multiclass
    return read(name)


def split(name: str, rng: np.random.Generator, n_train: int, n_test: int = 10_000) -> Split:
    """A random split: at most `n_train` rows, never more than two thirds, and at most `n_test` of the others.

    Classes are drawn in proportion.
    """
    X, y = load(name, rng)
    n_train = min(checks.integer("n_train", n_train, low=4), 2 * len(y) // 3)
    order = rng.permutation(len(y))
    if name in CLASSIFICATION:  # every stretch of the order holds the classes in proportion
        place, share = np.empty(len(y)), rng.random()
        for label in np.unique(y):
            members = order[y[order] == label]
            place[members] = (np.arange(len(members)) + share) / len(members)
        order = order[np.argsort(place[order], kind="stable")]
    train, test = order[:n_train], order[n_train : n_train + checks.integer("n_test", n_test, low=2)]
    if name in REGRESSION:
        y = (y - y[train].mean()) / y[train].std()
    scaler = StandardScaler().fit(X[train])
    return Split(scaler.transform(X[train]), y[train], scaler.transform(X[test]), y[test])
