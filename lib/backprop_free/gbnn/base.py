"""What both estimators share: checked parameters, the loop (also resumed), stages, cutting, the assembled network."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from lib import checks
from lib.backprop_free.gbnn.boosting import Settings, boost
from lib.backprop_free.gbnn.losses import CURVATURES, _initial_score, _mean_loss
from lib.backprop_free.gbnn.network import Network, Step, _assemble, to_torch
from lib.backprop_free.gbnn.pieces import ACTIVATIONS

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]


class _GBNN(BaseEstimator):
    """What both estimators share: the loop, stages, truncation, the assembled network."""

    def _settings(self, X: Floats, scale: float) -> tuple[Settings, int]:
        """Checked parameters, and the number of steps."""
        units = checks.integer("units_per_step", self.units_per_step, low=1)
        total = checks.integer("n_units", self.n_units, low=1)
        if total < units:
            raise ValueError(f"n_units must be at least units_per_step = {units}, got {total}")
        if total % units:
            warnings.warn(f"n_units = {total} is no multiple of {units}: {total // units * units} are trained", stacklevel=3)
        subsample = checks.number("subsample", self.subsample, above=0, high=1)
        if int(subsample * len(X)) < 2:
            raise ValueError(f"subsample must leave 2 rows or more, got {subsample:g} of n_samples = {len(X)}")
        newton = getattr(self, "newton", "none")
        if not callable(newton):
            checks.choice("newton", newton, CURVATURES)
        checks.boolean("warm_start", self.warm_start)
        settings = Settings(
            self._loss,
            units,
            checks.number("learning_rate", self.learning_rate, above=0, high=1),
            subsample,
            checks.number("alpha", self.alpha, low=0),
            checks.integer("max_iter", self.max_iter, low=1),
            checks.number("tol", self.tol, low=0),
            checks.choice("activation", self.activation, ACTIVATIONS),
            newton,
            scale,
            self._entropy(),
        )
        return settings, total // units

    def _entropy(self) -> tuple[int, ...]:
        rng = checks.generator("random_state", self.random_state)
        if self._resumes():
            return self.entropy_
        return tuple(rng.integers(2**32, size=4).tolist())

    def _resumes(self) -> bool:
        return bool(self.warm_start) and hasattr(self, "steps_")

    def _run(self, X: Floats, y: Floats, scale: float = 1.0) -> None:
        """The loop, from the start or from where a warm start left it."""
        settings, n_steps = self._settings(X, scale)
        if not self._resumes():
            self.entropy_ = settings.entropy
            self.steps_: list[Step] = []
            self.intercept_ = _initial_score(y, self._loss)
            self.train_losses_ = np.array([_mean_loss(y, self._constant(len(y), y.shape), self._loss)])
        elif self.steps_ and self.steps_[0].piece.W.shape[1] != settings.units_per_step:
            raise ValueError("units_per_step must not change with warm_start")
        elif n_steps < len(self.steps_):
            raise ValueError(f"n_units must not shrink with warm_start: {len(self.steps_)} steps are trained; use truncate")
        F, losses = self._constant(len(y), y.shape), []
        for piece, rate in self.steps_:
            F = F + rate * piece(X, self.activation).reshape(y.shape)
        for step, F in boost(X, y, F, settings, range(len(self.steps_), n_steps)):  # noqa: B020 - F moves on
            self.steps_.append(step)
            losses.append(_mean_loss(y, F, self._loss))
        self.train_losses_ = np.r_[self.train_losses_, losses]
        if self.train_losses_[-1] > self.train_losses_[0]:
            told = "the training loss ended above that of a constant; lower learning_rate"
            warnings.warn(told + ", or set newton='exact'" * (self._loss == "softmax"), ConvergenceWarning, stacklevel=3)
        self.n_iter_ = np.array([piece.n_iter for piece, _ in self.steps_] or [1])

    def _constant(self, n: int, shape: tuple[int, ...] | None = None) -> Floats:
        return np.zeros(shape or (n, np.size(self.intercept_))) + self.intercept_

    @property
    def n_steps_(self) -> int:
        """Steps that were trained: fewer than asked for where the fit had saturated."""
        return len(self.steps_)

    @property
    def coefs_(self) -> list[Floats]:
        """Weights of the assembled network, as scikit-learn's multi-layer perceptrons keep them."""
        network = self.to_mlp()
        return [network.W1, network.W2]

    @property
    def intercepts_(self) -> list[Floats]:
        """Biases of the assembled network, as scikit-learn's multi-layer perceptrons keep them."""
        network = self.to_mlp()
        return [network.b1, network.b2]

    def _n_kept(self, n_units: Any) -> int:
        """Steps that fit into a number of units."""
        check_is_fitted(self)
        J = self.steps_[0].piece.W.shape[1] if self.steps_ else 1
        if n_units is None:
            return len(self.steps_)
        return checks.integer("n_units", n_units, low=J, high=max(1, len(self.steps_)) * J) // J

    def _stages(self, X: npt.ArrayLike) -> Iterator[Floats]:
        """Scores after each step, shape (n, K) each."""
        check_is_fitted(self)
        data: Floats = np.asarray(validate_data(self, X, dtype=np.float64, reset=False))
        F = self._constant(len(data))
        for piece, rate in self.steps_:
            F = F + rate * piece(data, self.activation)  # (1)
            yield F

    def _scores(self, X: npt.ArrayLike) -> Floats:
        """Scores after all steps, shape (n, K), by one pass through the assembled network."""
        check_is_fitted(self)
        data = np.asarray(validate_data(self, X, dtype=np.float64, reset=False))
        if not self.steps_:
            return self._constant(len(data))
        return _assemble(self.intercept_, self.steps_, "squared")(data, self.activation)

    def to_mlp(self, n_units: int | None = None) -> Network:
        """The first `n_units` hidden units (default all) as one network ``(W1, b1, W2, b2)``: equation (7).

        Its outputs are predictions of a regression, the log-odds of two classes, or logits of more. Units of a step that does
        not fit in whole are left out.
        """
        kept = self.steps_[: self._n_kept(n_units)]
        if not kept:
            raise ValueError("no step was trained: the constant is all there is")
        return _assemble(self.intercept_, kept, self._loss)

    def to_torch(self, n_units: int | None = None, dtype: torch.dtype | None = None) -> torch.nn.Sequential:
        """As `to_mlp`, a torch module; its weights are float32 unless `dtype` says otherwise."""
        return to_torch(self.to_mlp(n_units), self.activation, dtype)

    def truncate(self, n_units: int) -> Any:
        """A fitted copy that keeps the first `n_units` hidden units; steps that do not fit in whole are left out."""
        n_kept = self._n_kept(n_units)
        shorter = copy.deepcopy(self)
        shorter.steps_ = shorter.steps_[:n_kept]
        shorter.train_losses_, shorter.n_iter_ = self.train_losses_[: n_kept + 1], self.n_iter_[: max(n_kept, 1)]
        J = self.steps_[0].piece.W.shape[1] if self.steps_ else 1
        return shorter.set_params(n_units=n_kept * J)
