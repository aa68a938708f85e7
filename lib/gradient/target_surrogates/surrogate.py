"""The surrogate in target space, and the line search that is used on it and on the loss of the targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lib import checks


class TargetSurrogate:
    """The surrogate (2) of a mean loss over examples, for NumPy arrays and torch tensors alike.

    ``l(z) + mean_i [ <g_i, f_i - z_i> + |f_i - z_i|^2 / (2 eta) ]``: linear in the model's outputs f, plus a proximal term.
    The first axis counts examples. Where `eta` is at most one over the smoothness of a single example's loss, it is an upper
    bound of the mean loss.

    Parameters
    ----------
    eta : float or array
        Step in target space, positive; an array is broadcast to the targets' shape: (b, 1) for one step per example of (b, k)
        targets, (b, k) for one per target. The paper's: 1/L, which is 4 for the logistic loss, 1 for half of the squared error.

    Raises
    ------
    TypeError, ValueError
        For a step that is not positive; by the methods, for shapes that differ. Values that are not finite give a value that
        is not finite: a line search takes it for no descent.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.target_surrogates import TargetSurrogate
    >>> surrogate = TargetSurrogate(eta=4.0)
    >>> z, g = np.zeros(2), np.array([-0.5, 0.5])
    >>> float(surrogate.value(np.array([1.0, 0.0]), z, g))
    -0.1875
    """

    def __init__(self, eta: Any = 4.0) -> None:
        self.eta: Any = _step("eta", eta)

    def value(self, f: Any, z: Any, g: Any, loss: float = 0.0) -> Any:
        """Value of the surrogate; `loss` is l(z), without which the value is the change that it predicts."""
        moved, g = self._moved(f, z, g)
        return loss + (g * moved + moved**2 / (2 * self.eta)).sum() / len(moved)  # (2)

    def gradient(self, f: Any, z: Any, g: Any) -> Any:
        """Gradient with respect to f, the shape of f: what back-propagation through the model starts from."""
        moved, g = self._moved(f, z, g)
        return (g + moved / self.eta) / len(moved)  # (3)

    def _moved(self, f: Any, z: Any, g: Any) -> tuple[Any, Any]:
        """f - z, and g; both in single precision where they come in half precision."""
        for name, value in (("f", f), ("z", z), ("g", g)):
            if not hasattr(value, "shape"):
                raise TypeError(f"{name} must be an array or a tensor, got {checks.shown(value)}")
        if not tuple(f.shape) == tuple(z.shape) == tuple(g.shape) or not len(f.shape) or not all(f.shape):
            raise ValueError(
                f"f, z and g must have one shape with examples first, got {tuple(f.shape)}, {tuple(z.shape)}, {tuple(g.shape)}"
            )
        if np.ndim(self.eta) and np.broadcast_shapes(tuple(self.eta.shape), tuple(f.shape)) != tuple(f.shape):
            raise ValueError(f"eta of shape {tuple(self.eta.shape)} must broadcast to that of the targets, {tuple(f.shape)}")
        f, z, g = map(_wide, (f, z, g))
        return f - z, g


def _wide(values: Any) -> Any:
    """Half precision as single precision, so that sums do not overflow."""
    if values.dtype == np.float16:
        return values.astype(np.float32)
    return values.float() if str(values.dtype) in ("torch.float16", "torch.bfloat16") else values


def _step(name: str, eta: Any) -> Any:
    """A positive number, or an array or tensor of them."""
    if hasattr(eta, "requires_grad"):
        checks.array(name, eta, above=0)
        return eta.detach()
    if isinstance(eta, np.ndarray | list) and np.ndim(eta):
        return np.array(checks.array(name, eta, above=0))
    return checks.positive(name, eta)


def armijo(
    value: Callable[[float], Any],
    base: float,
    slope: float,
    step: float = 10.0,
    c: float = 0.1,
    beta: float = 0.9,
    max_trials: int = 100,
) -> tuple[float, int]:
    """The largest of ``step, beta step, beta^2 step, ...`` with enough descent: ``value(a) <= base - c a slope`` (4).

    Parameters
    ----------
    value : function
        What is minimized, as a function of the step. NaN and infinity are taken for no descent.
    base : float
        ``value(0)``; may be negative.
    slope : float
        Minus the derivative of `value` at 0, the squared norm of the gradient for a gradient step; not negative.
    step : float
        First trial; the paper's code starts from 10.
    c : float
        Share of the descent that the slope promises, in (0, 1); the paper's code takes 0.1 in the model's parameters and 0.5
        in target space.
    beta : float
        Factor between trials, in (0, 1); the paper's code 0.9.
    max_trials : int
        The paper's code 100.

    Returns
    -------
    step, n_trials : float, int
        The step is 0 where no trial had enough descent: then nothing was found.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.gradient.target_surrogates import armijo
    >>> armijo(lambda a: (1 - a) ** 2, base=1.0, slope=2.0, step=4.0, c=0.5, beta=0.5)
    (1.0, 3)
    """
    checks.function("value", value)
    base, slope = checks.number("base", base), checks.number("slope", slope, low=0)
    step, c = checks.positive("step", step), checks.number("c", c, above=0, below=1)
    beta, max_trials = checks.number("beta", beta, above=0, below=1), checks.integer("max_trials", max_trials, low=1)
    for trial in range(max_trials):
        if -math.inf < float(value(step)) <= base - c * step * slope:  # (4)
            return step, trial + 1
        step = beta * step
    return 0.0, max_trials
