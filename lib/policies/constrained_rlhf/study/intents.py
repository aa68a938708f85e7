"""A learned reward model: a linear classifier of intents on the words of a text, with the mistakes that such models make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from lib import checks
from lib.policies.constrained_rlhf.study.text import END, INTENTS, PAD, Corpus


def bags(tokens: Any, mask: Any, size: int) -> np.ndarray:
    """Which words occur in each text, without padding and the end: 0 or 1, shape (n, size).

    Parameters
    ----------
    tokens : array of int, shape (n, T)
    mask : array of bool, shape (n, T)
    size : int
        Words of the vocabulary.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.bags([[3, 3, 1, 0]], [[True, True, True, False]], 5).tolist()
    [[0.0, 0.0, 0.0, 1.0, 0.0]]
    """
    size = checks.integer("size", size, low=END + 1)
    given = checks.array("tokens", tokens, ndim=2, low=0, high=size - 1).astype(int)
    counts = np.asarray(mask)
    if counts.dtype != bool or counts.shape != given.shape:
        raise ValueError(f"mask must hold booleans, shape {given.shape}, got {checks.shown(mask)}")
    found = np.zeros((len(given), size))
    row, column = np.nonzero(counts & (given != PAD) & (given != END))
    found[row, given[row, column]] = 1.0
    return found


@dataclass(frozen=True)
class IntentModel:
    """Scores of the four intents, linear in which words occur.

    weights : shape (words, 4)
    bias : shape (4,)
    """

    weights: np.ndarray
    bias: np.ndarray

    def scores(self, tokens: Any, mask: Any) -> np.ndarray:
        """Scores of each text, shape (n, 4)."""
        return bags(tokens, mask, len(self.weights)) @ self.weights + self.bias

    def predict(self, tokens: Any, mask: Any) -> np.ndarray:
        """The likeliest intent of each text, shape (n,)."""
        return self.scores(tokens, mask).argmax(1)


def fit_intents(text: Corpus, ridge: float = 1e-3, split: str = "train") -> IntentModel:
    """The classifier that fits the rule's labels of the references: class-weighted cross-entropy, L-BFGS.

    Parameters
    ----------
    text : Corpus
    ridge : float
        Weight of half the squared weights.
    split : {"train", "validation", "test"}

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.fit_intents(study.corpus(), ridge=0.1, split="test").weights.shape
    (1503, 4)
    """
    ridge, size = checks.positive("ridge", ridge), len(text.words)
    references = [reference for _, reference in text.pairs[split]]
    x, labels = _bags_of(references, size), text.intents[split]
    classes = len(INTENTS)
    shares = np.bincount(labels, minlength=classes) / len(labels)
    weight = 1.0 / (classes * shares[labels]) / len(labels)
    target = np.eye(classes)[labels]

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(size + 1, classes)
        logs = log_softmax(x @ w[:-1] + w[-1], axis=1)
        error = weight[:, None] * (np.exp(logs) - target)
        slope = np.vstack([x.T @ error + ridge * w[:-1], error.sum(0)])
        return float(
            -(weight * logs[np.arange(len(labels)), labels]).sum() + ridge / 2 * np.square(w[:-1]).sum()
        ), slope.ravel()

    best = minimize(loss, np.zeros((size + 1) * classes), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    fitted = best.x.reshape(size + 1, classes)
    return IntentModel(fitted[:-1], fitted[-1])


def accuracy(model: IntentModel, text: Corpus, split: str = "test") -> float:
    """Share of the references of a split whose intent the model tells as the rule does.

    Examples
    --------
    >>> from lib.policies.constrained_rlhf import study
    >>> study.accuracy(study.load().intents, study.corpus()) > 0.9
    True
    """
    references = [reference for _, reference in text.pairs[split]]
    x = _bags_of(references, len(text.words))
    return float(((x @ model.weights + model.bias).argmax(1) == text.intents[split]).mean())


def _bags_of(texts: list[list[int]], size: int) -> np.ndarray:
    found = np.zeros((len(texts), size))
    for row, tokens in enumerate(texts):
        found[row, [token for token in tokens if token not in (PAD, END)]] = 1.0
    return found
