"""tpSGD as a scikit-learn classifier: a fully connected network, trained layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lib import checks
from lib.backprop_free.tpsgd.blocks import TPSequential
from lib.backprop_free.tpsgd.rules import Loss
from lib.backprop_free.tpsgd.targets import Law


class TPSGDClassifier(ClassifierMixin, BaseEstimator):
    """A fully connected network whose hidden layers learn fixed random patterns of the classes; no backward pass.

    Each hidden layer takes SGD steps with momentum on its own local loss, the last layer on the cross-entropy. The paper's
    settings are not known to us: all defaults are ours.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(100,)
        Units of the hidden layers; empty for softmax regression.
    activation : {"tanh", "relu", "sigmoid", "identity"}, default="tanh"
    loss : {"l2", "l1", "huber", "linear", "cosine"} or function, default="l2"
        Local loss, as in `local_loss`; "linear" is direct random target projection.
    law : {"normal", "sign", "uniform", "orthogonal"}, default="normal"
        Of the patterns, as in `draw_patterns`.
    learning_rate : float, default=0.01
        Of the last layer.
    hidden_scale : float, default=1.0
        Learning rate of hidden layers over that of the last one; 0 leaves them at their random start.
    momentum : float, default=0.9
        In [0, 1).
    batch_size : int, default=64
        Rows of a batch, at most all; rows that fill no batch wait for another pass.
    max_iter : int, default=100
        Passes over the rows.
    random_state : int, Generator, SeedSequence, RandomState or None
        Of weights, patterns and the order of rows.

    Attributes
    ----------
    classes_ : array, shape (n_classes,)
    model_ : TPSequential
        The network, in float64.
    loss_curve_ : list of float
        Mean cross-entropy of the last layer over the batches of each pass, before their steps.
    n_iter_ : int
    n_features_in_, feature_names_in_

    Raises
    ------
    TypeError, ValueError
        In `fit`: one class, NaN, parameters out of range.
    FloatingPointError
        In `fit`: a loss that becomes infinite or NaN; the message names the layer.

    Notes
    -----
    Put a ``StandardScaler`` in front: large features saturate the units.

    Examples
    --------
    >>> from lib.backprop_free.tpsgd import TPSGDClassifier
    >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["no", "no", "yes", "yes"]
    >>> TPSGDClassifier((8,), random_state=0).fit(X, y).predict([[-3.0], [3.0]]).tolist()
    ['no', 'yes']
    """

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (100,),
        activation: str = "tanh",
        loss: Loss = "l2",
        law: Law = "normal",
        learning_rate: float = 0.01,
        hidden_scale: float = 1.0,
        momentum: float = 0.9,
        batch_size: int = 64,
        max_iter: int = 100,
        random_state: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.loss = loss
        self.law = law
        self.learning_rate = learning_rate
        self.hidden_scale = hidden_scale
        self.momentum = momentum
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> TPSGDClassifier:
        """Train on X, shape (n, d), and labels y, shape (n,); returns self."""
        X, y = validate_data(self, X, y, dtype=np.float64, ensure_min_samples=2)
        check_classification_targets(y)
        rows = torch.tensor(np.asarray(X))
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y needs at least 2 classes, got one class: {classes.tolist()}")
        if not isinstance(self.hidden_layer_sizes, Sequence) or isinstance(self.hidden_layer_sizes, str):
            raise TypeError(f"hidden_layer_sizes must be a sequence, got {checks.shown(self.hidden_layer_sizes)}")
        widths = [checks.integer("hidden_layer_sizes", n, low=1) for n in self.hidden_layer_sizes]
        momentum = checks.number("momentum", self.momentum, low=0, below=1)
        batch = min(checks.integer("batch_size", self.batch_size, low=1), len(rows))
        passes = checks.integer("max_iter", self.max_iter, low=1)
        rng = checks.generator("random_state", self.random_state)
        sizes = [rows.shape[1], *widths, len(classes)]
        model = TPSequential.dense(sizes, self.activation, self.loss, self.law, seed=rng).double()
        rates = checks.positive("learning_rate", self.learning_rate), checks.number("hidden_scale", self.hidden_scale, low=0)
        optimizers = model.optimizers(torch.optim.SGD, *rates, momentum=momentum)
        targets, curve = torch.tensor(labels, dtype=torch.int64), []
        for _ in range(passes):
            order = torch.from_numpy(rng.permutation(len(rows))[: len(rows) // batch * batch]).split(batch)
            losses = [model.train_step(rows[some], targets[some], optimizers)[-1] for some in order]
            curve.append(float(np.mean(losses)))
        self.classes_: npt.NDArray = classes
        self.model_, self.loss_curve_, self.n_iter_ = model, curve, passes
        return self

    def _logits(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        check_is_fitted(self)
        rows = torch.tensor(np.asarray(validate_data(self, X, dtype=np.float64, reset=False)))
        with torch.no_grad():
            logits: npt.NDArray[np.float64] = self.model_(rows).numpy()
        return logits

    def decision_function(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Logits, shape (n, n_classes); for two classes the log-odds of the second, shape (n,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities, shape (n, n_classes)."""
        shares: npt.NDArray[np.float64] = softmax(self._logits(X), axis=1)
        return shares

    def predict(self, X: npt.ArrayLike) -> npt.NDArray:
        """Labels, shape (n,)."""
        best = self._logits(X).argmax(axis=1)
        return self.classes_[best]
