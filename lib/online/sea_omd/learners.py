"""Optimistic online mirror descent: the last gradient is the guess for the next one.

Every learner keeps to the protocol predict, then update. State is an array of shape ``shape + (d,)``: any number of runs
(seeds, settings) side by side, each as if it were alone.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib import checks
from lib.online.sea_omd.domains import GREATEST, SMALLEST, Domain, sized

Array = NDArray[np.float64]

#: Entries of gradients beyond this are refused: sums of squares have to stay finite.
LARGEST = 1e100


def step_size(D: float, G: float, delta: float, variation: Any) -> Any:
    """The step of round t, ``D / sqrt(delta + 4 G^2 + V_{t-1})``.

    Parameters
    ----------
    D : float
        Diameter of the decision set, positive.
    G : float
        Bound of the gradients, positive.
    delta : float
        At least 0; ``10 D^2 L^2`` in the paper.
    variation : float or array_like
        V, the sum of ``||g_s - g_{s-1}||^2`` over the rounds before, at least 0.

    Returns
    -------
    float or array

    Examples
    --------
    >>> from lib.online.sea_omd import step_size
    >>> float(step_size(2.0, 1.0, 0.0, 0.0))
    1.0
    """
    D, G = sized("D", D), sized("G", G)
    delta, V = checks.number("delta", delta, low=0), checks.array("variation", variation, low=0)
    return _step_size(D, G, delta, V)


def _step_size(D: float, G: float, delta: float, variation: Array) -> Array:
    return D / np.sqrt(delta + 4.0 * G**2 + variation)  # (3)


def optimistic_round(domain: Domain, xhat: ArrayLike, grad: ArrayLike, eta: Any, eta_next: Any) -> tuple[Array, Array]:
    """One round of optimistic online gradient descent: both projections.

    Parameters
    ----------
    domain : Domain
    xhat : array_like, shape (..., d)
        The secondary point of this round.
    grad : array_like, shape (..., d)
        Gradient g that was observed.
    eta, eta_next : float or array_like, shape (...,)
        Steps of this round and of the next, positive.

    Returns
    -------
    xhat_next, x_next : array, shape (..., d)
        ``Proj(xhat - eta g)``, and the next decision ``Proj(xhat_next - eta_next g)``.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball, optimistic_round
    >>> xhat, x = optimistic_round(Ball(2), [0.0, 0.0], [1.0, 0.0], 0.25, 0.5)
    >>> float(x[0])
    -0.75
    """
    xhat, grad = domain._points("xhat", xhat), domain._points("grad", grad)
    first = checks.array("eta", eta, above=0)[..., None]
    second = checks.array("eta_next", eta_next, above=0)[..., None]
    return _round(domain, xhat, grad, first, second)


def _round(domain: Domain, xhat: Array, grad: Array, eta: Any, eta_next: Any) -> tuple[Array, Array]:
    xhat = domain._project(xhat - eta * grad)  # (2), second line
    return xhat, domain._project(xhat - eta_next * grad)  # (2), first line of the next round


class OnlineLearner(ABC):
    """Predict, then update: what all learners share.

    Parameters
    ----------
    domain : Domain
        Where decisions are made.
    G : float, optional
        Bound of the gradients' norms: a larger gradient is used, with one warning.
    shape : tuple of int
        Shape of the batch of runs that the learner holds; ``()`` for a single one.

    Attributes
    ----------
    x_ : array, shape (..., d)
        The decision of the next round.
    n_rounds_ : int
        Rounds so far.
    """

    def __init__(self, domain: Domain, G: float | None, shape: tuple[int, ...] = ()) -> None:
        if not isinstance(domain, Domain):
            raise TypeError(f"domain must be a Domain, such as Ball(2), got {checks.shown(domain)}")
        self.domain = domain
        self.G = None if G is None else sized("G", G)
        self.shape = tuple(checks.integer("shape", n, low=1) for n in checks.array("shape", shape, ndim=1, empty=True))
        self.x_: Array = np.broadcast_to(domain.start, (*self.shape, domain.dim)).copy()
        self.n_rounds_ = 0
        self._asked = self._warned = False

    def predict(self) -> Array:
        """The decision of this round, as a copy; asking twice gives it twice."""
        self._asked = True
        return self.x_.copy()

    def update(self, grad: ArrayLike) -> None:
        """Report the gradient of this round's loss at the decision.

        Parameters
        ----------
        grad : array_like, shape (..., d)

        Raises
        ------
        RuntimeError
            No prediction was asked for in this round.
        TypeError, ValueError
            The gradient has another shape, is not finite, or is too large to be squared; the learner is left as it was.
        """
        if not self._asked:
            raise RuntimeError("update was called without a predict before it")
        g = checks.array("grad", grad, shape=self.x_.shape).astype(np.float64)
        largest = float(np.abs(g).max())
        if largest > LARGEST:
            raise ValueError(f"grad must be small enough to be squared and summed, got entries up to {largest:.3g}")
        if self.G is not None and not self._warned and np.sum(g**2, axis=-1).max() > (self.G * (1.0 + 1e-9)) ** 2:
            warnings.warn(f"a gradient is longer than G = {self.G:g}: the bounds do not hold", UserWarning, stacklevel=2)
            self._warned = True
        self._learn(g)
        self.n_rounds_ += 1
        self._asked = False

    @abstractmethod
    def _learn(self, g: Array) -> None:
        """Move to the decision of the next round."""

    def _per_run(self, name: str, value: ArrayLike) -> Array:
        """A positive setting for all runs, or one for each."""
        given = checks.array(name, value, low=SMALLEST, high=GREATEST).astype(np.float64)
        try:
            np.broadcast_to(given, self.shape)
        except ValueError:
            raise ValueError(f"{name} must be a number or fit shape {self.shape}, got shape {given.shape}") from None
        return given


class OptimisticOMD(OnlineLearner):
    """Optimistic online mirror descent for convex losses.

    Parameters
    ----------
    domain : Domain
        Decision set with diameter D.
    G : float
        Bound of the gradients' norms.
    L : float
        Smoothness of the expected losses, at least 0; used by the default of delta only.
    delta : float, optional
        Damping of the first steps, at least 0; default and paper ``10 D^2 L^2``.
    scale : float or array_like, shape like `shape`
        Factor on every step; paper 1.
    optimistic : bool
        Whether the last gradient is the guess for the next (paper), or the guess is zero.
    shape : tuple of int
        Batch of runs; may be empty.

    Attributes
    ----------
    x_ : array, shape (..., d)
        The next decision.
    xhat_ : array, shape (..., d)
        The secondary point.
    variation_ : array, shape `shape`
        V, the sum of ``||g_s - g_{s-1}||^2``.
    eta_ : array, shape `shape`
        Step of the next round.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.online.sea_omd import Ball, OptimisticOMD
    >>> learner = OptimisticOMD(Ball(2), G=1.0, L=0.0)
    >>> x = learner.predict(); learner.update([1.0, 0.0])
    >>> learner.predict().round(3)
    array([-1.,  0.])
    """

    def __init__(self, domain: Domain, G: float, L: float, *, delta: float | None = None, scale: ArrayLike = 1.0,
                 optimistic: bool = True, shape: tuple[int, ...] = ()) -> None:  # fmt: skip
        super().__init__(domain, sized("G", G), shape)
        self.L = checks.number("L", L, low=0, high=GREATEST)
        default = 10.0 * domain.diameter**2 * self.L**2  # (9)
        self.delta = default if delta is None else checks.number("delta", delta, low=0)
        self.scale = self._per_run("scale", scale)
        self.optimistic = checks.boolean("optimistic", optimistic)
        self.xhat_: Array = self.x_.copy()
        self.variation_: Array = np.zeros(self.shape)
        self.eta_: Array = self._step(self.variation_)
        self._last = np.zeros_like(self.x_)

    def _step(self, variation: Array) -> Array:
        assert self.G is not None
        return np.asarray(self.scale * _step_size(self.domain.diameter, self.G, self.delta, variation))

    def _reference(self) -> Array | float:
        """What a gradient is compared with in V: the guess."""
        return self._last if self.optimistic else 0.0

    def _learn(self, g: Array) -> None:
        variation = self.variation_ + np.sum((g - self._reference()) ** 2, axis=-1)  # (3): V
        eta = self._step(variation)
        xhat, x = _round(self.domain, self.xhat_, g, self.eta_[..., None], eta[..., None])
        self.xhat_, self.x_ = xhat, x if self.optimistic else xhat.copy()
        self.variation_, self.eta_, self._last = variation, eta, g


class OptimisticOMDStronglyConvex(OnlineLearner):
    """Optimistic online mirror descent for strongly convex losses: the steps are ``2 / (lam t)``.

    Parameters
    ----------
    domain : Domain
    lam : float
        Strong convexity of the expected losses, positive.
    scale : float or array_like, shape like `shape`
        Factor on every step; paper 1.
    optimistic : bool
        Whether the last gradient is the guess for the next (paper). Without, and with scale 0.5, this is online gradient
        descent with the usual steps ``1 / (lam t)``.
    shape : tuple of int
        Batch of runs; may be empty.

    Attributes
    ----------
    x_ : array, shape (..., d)
        The next decision.
    xhat_ : array, shape (..., d)
        The secondary point.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball, OptimisticOMDStronglyConvex
    >>> learner = OptimisticOMDStronglyConvex(Ball(1), lam=4.0)
    >>> x = learner.predict(); learner.update([1.0])
    >>> learner.predict()
    array([-0.75])
    """

    def __init__(self, domain: Domain, lam: float, *, scale: ArrayLike = 1.0, optimistic: bool = True,
                 shape: tuple[int, ...] = ()) -> None:  # fmt: skip
        super().__init__(domain, None, shape)
        self.lam = sized("lam", lam)
        self.scale = self._per_run("scale", scale)
        self.optimistic = checks.boolean("optimistic", optimistic)
        self.xhat_: Array = self.x_.copy()

    def _learn(self, g: Array) -> None:
        t = self.n_rounds_ + 1
        eta, eta_next = (2.0 * self.scale[..., None] / (self.lam * s) for s in (t, t + 1))  # (10)
        xhat, x = _round(self.domain, self.xhat_, g, eta, eta_next)
        self.xhat_, self.x_ = xhat, x if self.optimistic else xhat.copy()


class OptimisticONS(OnlineLearner):
    """Optimistic online mirror descent for exp-concave losses: an online Newton step with a guess.

    Parameters
    ----------
    domain : Domain
        With a projection in the norm of a matrix: `Ball` or `Box`.
    G : float
        Bound of the gradients' norms.
    alpha : float
        Exp-concavity of the losses, positive.
    beta : float or array_like, shape like `shape`, optional
        Default and paper ``min(1 / (4 G D), alpha) / 2``.
    optimistic : bool
        Whether the last gradient is the guess for the next (paper).
    shape : tuple of int
        Batch of runs; may be empty.

    Attributes
    ----------
    x_ : array, shape (..., d)
        The next decision.
    xhat_ : array, shape (..., d)
        The secondary point.
    H_ : array, shape (..., d, d)
        The metric of the next round.

    Examples
    --------
    >>> from lib.online.sea_omd import Ball, OptimisticONS
    >>> learner = OptimisticONS(Ball(2), G=1.0, alpha=1.0)
    >>> x = learner.predict(); learner.update([0.1, 0.0])
    >>> learner.predict().round(3)
    array([-0.194,  0.   ])
    """

    def __init__(self, domain: Domain, G: float, alpha: float, *, beta: ArrayLike | None = None, optimistic: bool = True,
                 shape: tuple[int, ...] = ()) -> None:  # fmt: skip
        super().__init__(domain, G, shape)
        assert self.G is not None
        self.alpha = sized("alpha", alpha)
        default = 0.5 * min(1.0 / (4.0 * self.G * domain.diameter), self.alpha)  # (12)
        self.beta = self._per_run("beta", default if beta is None else beta)
        self.optimistic = checks.boolean("optimistic", optimistic)
        domain._project_norm(domain.start, np.eye(domain.dim))  # a domain without such a projection is refused here
        first = 1.0 + 0.5 * np.broadcast_to(self.beta, self.shape)[..., None, None] * self.G**2  # (12)
        self.H_: Array = first * np.eye(domain.dim)
        self.xhat_: Array = self.x_.copy()

    def _learn(self, g: Array) -> None:
        xhat = self._newton(self.xhat_, g, self.H_)
        outer = g[..., :, None] * g[..., None, :]
        H = self.H_ + 0.5 * self.beta[..., None, None] * outer  # (12)
        x = self._newton(xhat, g, H) if self.optimistic else xhat.copy()
        self.xhat_, self.x_, self.H_ = xhat, x, H

    def _newton(self, x: Array, g: Array, H: Array) -> Array:
        return self.domain._project_norm(x - np.linalg.solve(H, g[..., None])[..., 0], H)
