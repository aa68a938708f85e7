"""Two of the paper's four imbalanced data sets: "Random" exactly, "Breast cancer" up to which positives were kept.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024). The
other two (credit card and diabetes) cannot be had from a package index and are not here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.decomposition import PCA

from lib import checks


class RandomSet(NamedTuple):
    """The Random data set: features (n, 2), labels (n,), and the variance that each principal component explains."""

    X: NDArray[np.float64]
    y: NDArray[np.int64]
    explained_variance_ratio: NDArray[np.float64]


def random_set(n_samples: int = 10_000, seed: int = 0) -> RandomSet:
    """The paper's Random set: 9:1 classes in five dimensions, projected to their first two principal components.

    Parameters
    ----------
    n_samples : int, default=10000 (the paper's value)
        Number of samples. Another number is another problem, not a subsample: for a smaller one, take rows of this one.
    seed : int, default=0 (the paper's value)
        Of ``make_classification``.

    Returns
    -------
    RandomSet
        With the defaults 10.47 % positives and explained variance ratios 0.42833, 0.25307.

    Examples
    --------
    >>> from lib.objectives.anyloss.study import random_set
    >>> random_set().explained_variance_ratio.round(5).tolist()
    [0.42833, 0.25307]
    """
    n_samples, seed = checks.integer("n_samples", n_samples, low=20), checks.integer("seed", seed, low=0)
    X, y = make_classification(
        n_samples=n_samples,
        weights=[0.9, 0.1],
        class_sep=1.2,
        n_features=5,
        n_informative=3,
        n_redundant=1,
        n_clusters_per_class=1,
        random_state=seed,
    )
    pca = PCA(n_components=2).fit(X)
    X = pca.transform(X)
    # The sign of a component is a convention that scikit-learn changed; this is the one of the authors' version.
    X *= np.sign(X[np.abs(X).argmax(axis=0), [0, 1]])
    return RandomSet(X, y, pca.explained_variance_ratio_)


def breast_set(n_malignant: int = 36, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Wisconsin diagnostic breast cancer, standardized, with the malignant class (1) thinned out.

    Parameters
    ----------
    n_malignant : int, default=36 (the paper's value)
        How many of the 212 malignant samples stay; the 357 benign ones (class 0) all do.
    seed : int, default=0
        Of the choice; which 36 the authors drew is not known.

    Returns
    -------
    (ndarray (357 + n_malignant, 30), ndarray (357 + n_malignant,))
        Features, standardized on all 569 samples with the sample standard deviation as the authors do, and labels.

    Raises
    ------
    ValueError
        n_malignant not in 1..212.

    Examples
    --------
    >>> from lib.objectives.anyloss.study import breast_set
    >>> X, y = breast_set()
    >>> X.shape, int(y.sum())
    ((393, 30), 36)
    """
    n_malignant, seed = checks.integer("n_malignant", n_malignant, low=1), checks.integer("seed", seed, low=0)
    X, benign = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0, ddof=1)
    malignant = np.flatnonzero(benign == 0)
    if n_malignant > len(malignant):
        raise ValueError(f"n_malignant must be in 1..{len(malignant)}, got {n_malignant}")
    kept = np.random.default_rng(seed).choice(malignant, n_malignant, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(benign == 1), kept]))
    return X[rows], (1 - benign)[rows].astype(np.int64)
