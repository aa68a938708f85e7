"""The paper's two algorithms: a double loop, and a single loop with recursive momentum."""

from __future__ import annotations

import copy
import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.problems.bilevel import BilevelProblem

from .hypergradient import penalty_slope, wide
from .steps import average, inner_step, momentum

#: Draws a batch: ``(generator, size)`` to the problem of that batch.
Sampler = Callable[[np.random.Generator, int], BilevelProblem]
#: A number, or a function of the step 0, 1, ...; numbers for several runs at once come as a tensor (runs, 1).
Schedule = float | Callable[[int], Any]

_Slopes = list[Tensor]
_Drawn = tuple[BilevelProblem, BilevelProblem, int]
_Bounds = Mapping[str, float]

__all__ = ["DoubleLoopPenalty", "SingleLoopPenalty"]


class _Loop:
    """What both algorithms share: points, schedules, samples, counts, saving and resuming."""

    _points: tuple[str, ...] = ("x", "y", "z")
    _bounds: ClassVar[dict[str, _Bounds]] = {
        "sigma": {"above": 0},
        "alpha": {"low": 0},
        "gamma": {"above": 0},
        "beta": {"above": 0, "high": 1},
    }

    def __init__(self, problem: BilevelProblem | Sampler, x: Tensor, y: Tensor, z: Tensor | None, seed: Any,
                 shared: bool, batch: Any, settings: dict[str, Any], rho: float) -> None:  # fmt: skip
        if not isinstance(problem, BilevelProblem):
            checks.function("problem", problem)
        given = {"x": x, "y": y, "z": y if z is None else z}
        tensors = {name: checks.tensor(name, value).detach() for name, value in given.items()}
        if tensors["z"].shape != tensors["y"].shape:
            raise ValueError(f"z must have the shape of y, {tuple(y.shape)}, got {tuple(tensors['z'].shape)}")
        kind = wide(*tensors.values())
        self.problem, self.shared = problem, checks.boolean("shared", shared)
        self.x, self.y, self.z = (value.to(kind).clone() for value in tensors.values())
        self.rho = checks.number("rho", rho, above=0, inf=True)
        self.schedules = {name: _schedule(name, value, self._bounds[name]) for name, value in settings.items()}
        self.batch = batch if callable(batch) else checks.integer("batch", batch, low=1)
        self.generator = copy.deepcopy(checks.generator("seed", seed))
        self.k, self.calls = 0, 0

    def _now(self) -> dict[str, Any]:
        return {
            name: _value(name, value, self.k, self._bounds[name]) if callable(value) else value
            for name, value in self.schedules.items()
        }

    def _draw(self) -> _Drawn:
        """The sample's problem for the terms at y and for those at z, and its size."""
        if isinstance(self.problem, BilevelProblem):
            return self.problem, self.problem, 1
        size = checks.integer("batch", self.batch(self.k), low=1) if callable(self.batch) else self.batch
        first = self.problem(self.generator, size)
        return first, first if self.shared else self.problem(self.generator, size), size

    def _slopes(self, drawn: _Drawn, x: Tensor, wy: Tensor, wz: Tensor) -> _Slopes:
        """The six slopes at one triple of points: x and y part of f at y, g at y, g at z."""
        first, second, size = drawn
        self.calls += 3 * size
        of_f = first.upper_slopes(x.clone(), wy.clone())
        return [*of_f, *first.lower_slopes(x.clone(), wy.clone()), *second.lower_slopes(x.clone(), wz.clone())]

    def _inner(self, of: BilevelProblem, slopes: _Slopes, wy: Tensor, wz: Tensor, now: dict[str, Any]) -> tuple[Tensor, Tensor]:
        _, f_y, _, gy_y, _, gz_y = slopes
        stepped_y = inner_step(wy, self.y, gy_y, now["gamma"], self.rho, now["sigma"], f_y)  # (5)
        stepped_z = inner_step(wz, self.z, gz_y, now["gamma"], self.rho)  # (5)
        return of.project_y(stepped_y), of.project_y(stepped_z)

    def _outer(self, of: BilevelProblem, slopes: _Slopes, now: dict[str, Any]) -> Tensor:
        direction = penalty_slope(slopes[0], slopes[2], slopes[4], now["sigma"])
        return of.project_x(self.x - now["alpha"] * direction)  # (7)

    def _step(self) -> None:
        raise NotImplementedError

    def step(self) -> None:
        """One step of x. What ends it leaves everything as it was.

        Raises
        ------
        FloatingPointError
            If a point is no longer finite: the steps are too long, for `x` usually because ``alpha / sigma`` is.
        """
        before = self.state_dict()
        try:
            self._step()
            for name in self._points:
                point = getattr(self, name)  # the sum is cheap, and finite wherever it need not be looked at closely
                if not (math.isfinite(point.sum()) or torch.isfinite(point).all()):
                    raise FloatingPointError(f"{name} is not finite after step {self.k}: the step sizes are too long")
        except BaseException:
            self.load_state_dict(before)
            raise
        self.k += 1

    def run(self, n_steps: int, callback: Callable[[Any], Any] | None = None) -> None:
        """Take `n_steps` steps, or fewer: ``callback(self)`` after each step may return True to stop.

        Raises
        ------
        TypeError, ValueError
            If `n_steps` is no positive integer or the callback no function.
        """
        n_steps = checks.integer("n_steps", n_steps, low=1)
        if callback is not None:
            checks.function("callback", callback)
        for _ in range(n_steps):
            self.step()
            if callback is not None and callback(self) is True:
                break

    def state_dict(self) -> dict[str, Any]:
        """All that the continuation depends on, beside the settings."""
        points = {name: getattr(self, name).clone() for name in self._points}
        return points | {"k": self.k, "calls": self.calls, "generator": self.generator.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where a `state_dict` was taken.

        Raises
        ------
        ValueError
            If entries are missing or points have other shapes.
        """
        if missing := [name for name in (*self._points, "k", "calls", "generator") if name not in state]:
            raise ValueError(f"state has no {', '.join(missing)}")
        for name in self._points:
            if state[name].shape != getattr(self, name).shape:
                shapes = tuple(getattr(self, name).shape), tuple(state[name].shape)
                raise ValueError(f"state's {name} must have shape {shapes[0]}, got {shapes[1]}")
            setattr(self, name, state[name].clone())
        self.k, self.calls = int(state["k"]), int(state["calls"])
        self.generator.bit_generator.state = copy.deepcopy(state["generator"])


class DoubleLoopPenalty(_Loop):
    r"""Algorithm 1: several inner steps for the two lower-level points, then one step of x by first derivatives.

    Each step of x runs `inner_steps` of :math:`w \leftarrow P_Y(w - \gamma [\sigma \nabla_y f + \nabla_y g + (w - y) / \rho])`
    (5), without f for the second point, moves the centers y and z (6), and then x (7).

    Parameters
    ----------
    problem : BilevelProblem, or function
        With samples: ``(generator, size)`` to the problem of a fresh batch, whose projections are those of the whole.
    x, y : Tensor, shapes (n,) and (m,)
        Start. Runs that differ by a leading dimension are taken together where the slopes allow it.
    z : Tensor, optional
        Start of the second point; `y` by default, so that their difference starts at zero.
    sigma : float or function of the step
        Weight of the upper level, above 0; the error of the limit is proportional to it.
    alpha : float or function
        Step of x, along the penalized gradient (4); at least 0.
    gamma : float or function
        Inner step.
    beta : float or function
        Share by which the centers move, in (0, 1]; 1 without proximal terms.
    rho : float
        Width of the proximal terms; infinity allowed, the default: none.
    inner_steps : int or function
        T, at least 1.
    batch : int or function
        M, size of each sample.
    shared : bool
        Whether the terms at y and at z see the same sample: its noise then cancels in their difference.
    seed : int or Generator
        Of the samples. May be None, a fresh one.

    Attributes
    ----------
    x, y, z : Tensor
        Where it stands. `k` counts steps of x, `calls` gradients of one function at one sample.

    Raises
    ------
    TypeError, ValueError
        For settings out of range, tensors that are not finite.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty import DoubleLoopPenalty
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(torch.dot, torch.nn.functional.mse_loss)  # f = x y, and g = (x - y)^2
    >>> loop = DoubleLoopPenalty(problem, torch.tensor([3.0]), torch.tensor([0.0]), sigma=0.1, alpha=0.2, gamma=0.4)
    >>> loop.run(40)
    >>> round(loop.x.item(), 2), loop.calls
    (0.0, 1320)
    """

    _bounds: ClassVar[dict[str, _Bounds]] = {**_Loop._bounds, "inner_steps": {"low": 1}}

    def __init__(
        self,
        problem: BilevelProblem | Sampler,
        x: Tensor,
        y: Tensor,
        z: Tensor | None = None,
        *,
        sigma: Schedule,
        alpha: Schedule,
        gamma: Schedule,
        beta: Schedule = 1.0,
        rho: float = np.inf,
        inner_steps: int | Callable[[int], int] = 10,
        batch: int | Callable[[int], int] = 1,
        shared: bool = True,
        seed: int | np.random.Generator | None = 0,
    ) -> None:
        settings = {"sigma": sigma, "alpha": alpha, "gamma": gamma, "beta": beta}
        super().__init__(problem, x, y, z, seed, shared, batch, settings, rho)
        self.inner_steps = inner_steps if callable(inner_steps) else checks.integer("inner_steps", inner_steps, low=1)

    def _step(self) -> None:
        now, wy, wz = self._now(), self.y, self.z
        steps = self.inner_steps(self.k) if callable(self.inner_steps) else self.inner_steps
        for _ in range(checks.integer("inner_steps", steps, low=1)):
            drawn = self._draw()
            wy, wz = self._inner(drawn[0], self._slopes(drawn, self.x, wy, wz), wy, wz, now)
        self.y, self.z = average(self.y, wy, now["beta"]), average(self.z, wz, now["beta"])
        drawn = self._draw()
        self.x = self._outer(drawn[0], self._slopes(drawn, self.x, wy, wz), now)


class SingleLoopPenalty(_Loop):
    r"""Algorithm 2: one step each of x and of the two lower-level points, on gradients with recursive momentum.

    Every slope is estimated by :math:`d_k = \nabla(v_k; \xi_k) + (1 - \eta_k) (d_{k-1} - \nabla(v_{k-1}; \xi_k))` (8), both
    gradients on the same sample; then the steps (5), (6), (7), all from the estimates at the old points. The estimates of f
    and of g are kept apart, so that a weight sigma that changes does not enter them.

    Parameters
    ----------
    problem : BilevelProblem, or function
        As in `DoubleLoopPenalty`, as are `sigma`, `alpha`, `gamma`, `beta`, `batch` and `shared`.
    x, y : Tensor, shapes (n,) and (m,)
        Start.
    z : Tensor, optional
        Start of the second point; `y` by default.
    sigma, alpha, gamma, beta : float or function of the step
        Weight, step of x, inner step, share by which the centers move.
    rho : float
        Width of the proximal terms; infinity allowed, the default: none.
    eta : float or function of the step
        Momentum parameter in (0, 1]; 1, the default, is plain stochastic gradients at half the calls.
    batch : int or function
        Size of each sample.
    shared : bool
        Whether the terms at y and at z see the same sample.
    seed : int or Generator
        Of the samples. May be None, a fresh one.

    Attributes
    ----------
    x, y, z : Tensor
        Where it stands. `wy` and `wz` are the proximal points.

    Raises
    ------
    TypeError, ValueError
        For settings out of range, tensors that are not finite.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty import SingleLoopPenalty
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(torch.dot, torch.nn.functional.mse_loss)  # f = x y, and g = (x - y)^2
    >>> loop = SingleLoopPenalty(problem, torch.tensor([3.0]), torch.tensor([0.0]), sigma=0.1, alpha=0.02, gamma=0.4)
    >>> loop.run(400)
    >>> round(loop.x.item(), 2), loop.calls
    (0.0, 1200)
    """

    _points = ("x", "y", "z", "wy", "wz")
    _bounds: ClassVar[dict[str, _Bounds]] = {**_Loop._bounds, "eta": {"above": 0, "high": 1}}

    def __init__(
        self,
        problem: BilevelProblem | Sampler,
        x: Tensor,
        y: Tensor,
        z: Tensor | None = None,
        *,
        sigma: Schedule,
        alpha: Schedule,
        gamma: Schedule,
        beta: Schedule = 1.0,
        rho: float = np.inf,
        eta: Schedule = 1.0,
        batch: int | Callable[[int], int] = 1,
        shared: bool = True,
        seed: int | np.random.Generator | None = 0,
    ) -> None:
        settings = {"sigma": sigma, "alpha": alpha, "gamma": gamma, "beta": beta, "eta": eta}
        super().__init__(problem, x, y, z, seed, shared, batch, settings, rho)
        self.wy, self.wz = self.y.clone(), self.z.clone()
        self._estimates: _Slopes | None = None
        self._before: tuple[Tensor, Tensor, Tensor] | None = None

    def _step(self) -> None:
        now = self._now()
        drawn = self._draw()
        here = self.x, self.wy, self.wz
        slopes = self._slopes(drawn, *here)
        if self._estimates is not None and self._before is not None and not _all_one(now["eta"]):
            old = self._slopes(drawn, *self._before)
            slopes = [momentum(d, new, o, now["eta"]) for d, new, o in zip(self._estimates, slopes, old, strict=True)]
        self._estimates, self._before = slopes, here
        self.wy, self.wz = self._inner(drawn[0], slopes, self.wy, self.wz, now)
        self.y, self.z = average(self.y, self.wy, now["beta"]), average(self.z, self.wz, now["beta"])
        self.x = self._outer(drawn[0], slopes, now)

    def state_dict(self) -> dict[str, Any]:
        """All that the continuation depends on, beside the settings."""
        return super().state_dict() | {"estimates": self._estimates, "before": self._before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where a `state_dict` was taken."""
        if missing := [name for name in ("estimates", "before") if name not in state]:
            raise ValueError(f"state has no {', '.join(missing)}")
        super().load_state_dict(state)
        copied = copy.deepcopy((state["estimates"], state["before"]))
        self._estimates, self._before = copied


def _all_one(eta: Any) -> bool:
    return bool((eta == 1).all()) if isinstance(eta, Tensor) else eta == 1


def _schedule(name: str, value: Any, bounds: _Bounds) -> Any:
    if callable(value):
        return value
    return _value(name, lambda k: value, 0, bounds)


def _value(name: str, schedule: Any, k: int, bounds: _Bounds) -> Any:
    value = schedule(k) if callable(schedule) else schedule
    if not isinstance(value, Tensor) or value.ndim == 0:
        return checks.number(name, value, low=bounds.get("low"), high=bounds.get("high"), above=bounds.get("above"))
    value = checks.tensor(name, value, finite=False)
    if bounds.get("low", bounds.get("above", 0)) < value.min() and value.max() <= bounds.get("high", sys.float_info.max):
        return value  # every step comes by here; what is out of range is named below
    checks.array(name, value, low=bounds.get("low"), high=bounds.get("high"), above=bounds.get("above"))
    return value
