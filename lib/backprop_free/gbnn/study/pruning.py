"""Units of a trained network switched off: which are kept, and what the rest of the network then says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from lib import checks
from lib.backprop_free.gbnn.pieces import ACTIVATIONS
from lib.backprop_free.gbnn.study.sets import Split

Floats = npt.NDArray[np.float64]
RULES = ("first", "ranked")


def kept_units(network: Any, X: Floats, rule: str = "ranked") -> npt.NDArray[np.int64]:
    """Units in the order in which they are kept: as they stand, or by the variance that each gives to the outputs.

    ``network`` is one of scikit-learn's with one hidden layer.
    """
    checks.choice("rule", rule, RULES)
    n_units = network.coefs_[0].shape[1]
    if rule == "first":
        return np.arange(n_units)
    H = _hidden(network, X)
    share = H.var(axis=0) * (network.coefs_[1] ** 2).sum(axis=1)
    return np.argsort(-np.round(share / share.max(), 9), kind="stable")


def pruned_accuracies(network: Any, part: Split, order: npt.NDArray[np.int64], counts: list[int]) -> Floats:
    """Test accuracy with the first units of an order; the others give their mean over the training rows, not zero."""
    H, mean = _hidden(network, part.X_test), _hidden(network, part.X).mean(axis=0)
    A, b = network.coefs_[1], network.intercepts_[1]
    found = []
    for k in counts:
        kept = order[:k]
        F = (H[:, kept] - mean[kept]) @ A[kept] + mean @ A + b
        labels = (F[:, 0] > 0).astype(int) if F.shape[1] == 1 else F.argmax(axis=1)
        found.append(np.mean(network.classes_[labels] == part.y_test))
    return np.array(found)


def _hidden(network: Any, X: Floats) -> Floats:
    act, _ = ACTIVATIONS[network.activation]
    return act(X @ network.coefs_[0] + network.intercepts_[0])


def refit_accuracies(network: Any, part: Split, order: npt.NDArray[np.int64], counts: list[int]) -> Floats:
    """As `pruned_accuracies`, with the output layer fit anew on the units that are kept, by logistic regression."""
    H, H_test = (_hidden(network, X)[:, order] for X in (part.X, part.X_test))
    scale = H.std(axis=0)
    scale[scale == 0] = 1
    found = []
    for k in counts:
        layer = LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=50).fit(H[:, :k] / scale[:k], part.y)
        found.append(layer.score(H_test[:, :k] / scale[:k], part.y_test))
    return np.array(found)
