"""What a client does in a round: ask its function, estimate its gradient, correct it. One class for each method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lib import checks
from lib.backprop_free.fzoos.features import RandomFourierSurrogate, Weights
from lib.backprop_free.fzoos.gp import Array, GPGradient, nearest
from lib.backprop_free.fzoos.steps import gamma_decay, orthonormal_directions, rgf

Ask = Callable[[int, Array], Array]  # client, points (n, d) -> values (n,)


class Settings(NamedTuple):
    """The options of `federated_minimize`, checked, under the names they have there.

    `low` and `high` are its bounds; `shares` are filled in, shape (N,).
    """

    method: str
    local_steps: int
    lr: float
    low: float
    high: float
    shares: Array
    gamma: Any
    n_features: int
    feature_scale: float
    ridge: float
    kernel: str
    length_scale: Any
    noise: float
    max_points: int
    max_sent: int
    n_start: int
    n_active: int
    n_candidates: int
    n_server: int
    n_server_candidates: int
    radius: float
    q: int
    mu: float
    prox: float
    server_lr: float
    rollback: bool
    vectorized: bool


class History:
    """A client's queries: points and values, in arrays that double when they are full."""

    def __init__(self, d: int) -> None:
        self._X, self._y, self._norms, self.n = np.empty((64, d)), np.empty(64), np.empty(64), 0

    @property
    def X(self) -> Array:
        return self._X[: self.n]

    @property
    def y(self) -> Array:
        return self._y[: self.n]

    def add(self, X: Array, y: Array) -> None:
        n = self.n + len(X)
        while n > len(self._X):
            self._X, self._y = np.vstack([self._X, self._X]), np.concatenate([self._y, self._y])
            self._norms = np.concatenate([self._norms, self._norms])
        self._X[self.n : n], self._y[self.n : n], self._norms[self.n : n] = X, y, (X * X).sum(-1)
        self.n = n

    def nearest(self, x: Array, k: int) -> tuple[Array, Array]:
        keep = nearest(self._norms[: self.n] - 2 * self.X @ x + x @ x, k)
        return self.X[keep], self.y[keep]


class Plain:
    """No correction, the gradient by finite differences (FedZO); the other methods say where they differ."""

    exchanges = 1

    def __init__(self, s: Settings, d: int, rngs: Sequence[np.random.Generator], common: np.random.Generator) -> None:
        self.s, self.d, self.rngs = s, d, list(rngs)

    def floats(self) -> tuple[int, int]:
        """Numbers that a client sends and receives in a round."""
        return self.d, self.d

    def begin_round(self, r: int, x: Array, ask: Ask) -> None:
        """Before the clients' local steps of round r = 1, 2, ..., at the server's point x."""
        self.r, self.x = r, x

    def begin(self, i: int, z: Array, ask: Ask) -> None:
        """Client i starts from z."""

    def estimate(self, i: int, z: Array, ask: Ask) -> Array:
        """Client i's estimate of its own gradient at z."""
        directions = orthonormal_directions(self.d, self.s.q, self.rngs[i])
        values = ask(i, np.vstack([z, z + self.s.mu * directions]))
        return rgf(values[1:] - values[0], directions, self.s.mu)

    def correction(self, i: int, z: Array) -> Array | None:
        """What client i thinks the global gradient at z is more than its own."""
        return None

    def length(self, t: int) -> float:
        """How much of the correction is used at local iteration t."""
        return 1.0

    def arrived(self, i: int, z: Array, last: bool, ask: Ask) -> None:
        """Client i has moved to z."""

    def end_round(self, x: Array, tried: Array, values: Array, ends: Array, ask: Ask) -> None:
        """The server is at x, having `tried` a point with these `values`; the clients' last points were `ends`."""


class Prox(Plain):
    """FedProx: a pull back to the server's point."""

    def correction(self, i: int, z: Array) -> Array:
        return z - self.x

    def length(self, t: int) -> float:
        return self.s.prox


class Scaffold1(Plain):
    """SCAFFOLD with control variates that are estimated at the server's point, q + 1 more queries."""

    exchanges = 2

    def floats(self) -> tuple[int, int]:
        return 2 * self.d, 2 * self.d

    def begin_round(self, r: int, x: Array, ask: Ask) -> None:
        super().begin_round(r, x, ask)
        own = np.array([super(Scaffold1, self).estimate(i, x, ask) for i in range(len(self.rngs))])
        self.c = self.s.shares @ own - own

    def correction(self, i: int, z: Array) -> Array:
        return self.c[i]


class Scaffold2(Plain):
    """SCAFFOLD with the averages of the previous round's local estimates as control variates."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.c: Array | None = None
        self.seen: list[list[Array]] = [[] for _ in self.rngs]

    def floats(self) -> tuple[int, int]:
        return 2 * self.d, 2 * self.d

    def estimate(self, i: int, z: Array, ask: Ask) -> Array:
        g = super().estimate(i, z, ask)
        self.seen[i].append(g)
        return g

    def correction(self, i: int, z: Array) -> Array | None:
        return None if self.c is None else self.c[i]

    def end_round(self, x: Array, tried: Array, values: Array, ends: Array, ask: Ask) -> None:
        own = np.array([np.mean(seen, axis=0) for seen in self.seen])
        self.c = self.s.shares @ own - own
        self.seen = [[] for _ in self.rngs]


class Exact(Plain):
    """The exact global gradient at every local point: an upper bound, given the clients' gradients."""

    grads: Sequence[Callable[[Array], Array]] = ()

    def estimate(self, i: int, z: Array, ask: Ask) -> Array:
        return exact_slopes(self.grads[i : i + 1], z, i)[0]

    def correction(self, i: int, z: Array) -> Array:
        every = exact_slopes(self.grads, z)
        return self.s.shares @ every - every[i]


def exact_slopes(grads: Sequence[Callable[[Array], Array]], z: Array, first: int = 0) -> Array:
    """The clients' own gradients at z, one a row; an error names the client whose gradient is none."""
    found = [checks.array(f"grads[{first + k}](x)", grad(z.copy()), shape=z.shape) for k, grad in enumerate(grads)]
    return np.array(found, dtype=float)


class Trajectory(Plain):
    """FZooS: gradients of Gaussian processes over all that was asked, corrected by the difference of two shared surrogates."""

    exchanges = 2

    def __init__(self, s: Settings, d: int, rngs: Sequence[np.random.Generator], common: np.random.Generator) -> None:
        super().__init__(s, d, rngs, common)
        self.surrogate = RandomFourierSurrogate(d, s.n_features, s.feature_scale, s.ridge, common)
        self.seen = [History(d) for _ in self.rngs]
        self.scale: list[float | None] = [None] * len(self.rngs)
        self.own: list[Weights] = []
        self.difference: list[Array] = []

    def floats(self) -> tuple[int, int]:
        m = self.surrogate.n_features
        return self.d + m, self.d + m

    def _near(self, i: int, x: Array, radius: float, n: int) -> Array:
        """n uniform points in the box of half-width `radius` about x."""
        around = x + radius * self.rngs[i].uniform(-1, 1, (n, self.d))
        return np.clip(around, self.s.low, self.s.high)

    def _query(self, i: int, X: Array, ask: Ask) -> None:
        if len(X):
            self.seen[i].add(X, ask(i, X))

    def _fit(self, i: int, z: Array) -> GPGradient:
        """The process about z; a length scale of maximum likelihood is kept for the rest of the round."""
        known = self.scale[i]
        wanted = self.s.length_scale if known is None else known
        gp = GPGradient(self.s.kernel, wanted, self.s.noise, self.s.max_points)
        gp._fit(*self.seen[i].nearest(z, self.s.max_points), z)
        self.scale[i] = gp.length_scale_
        return gp

    def _most_uncertain(self, gp: GPGradient, points: Array, n: int) -> Array:
        """The n points at which the gradient is least certain; ties, up to rounding, go to the earlier."""
        if n >= len(points):
            return points
        variance = gp.gradient_variance(points)
        order = np.argsort(-np.round(variance / max(float(variance.max()), 1e-300), 7), kind="stable")
        return points[order[:n]]

    def begin(self, i: int, z: Array, ask: Ask) -> None:
        if self.r == 1 and self.s.n_start:
            self._query(i, self._near(i, z, self.s.radius, self.s.n_start), ask)
        self._query(i, z[None], ask)
        self.scale[i] = None

    def estimate(self, i: int, z: Array, ask: Ask) -> Array:
        self.gp = self._fit(i, z)
        return self.gp.gradient(z)

    def correction(self, i: int, z: Array) -> Array | None:
        return self.surrogate.gradient(z, self.difference[i]) if self.difference else None

    def length(self, t: int) -> float:
        gamma = self.s.gamma
        if callable(gamma):
            return checks.number("gamma(t)", gamma(t))
        return gamma_decay(t) if gamma == "decay" else gamma

    def arrived(self, i: int, z: Array, last: bool, ask: Ask) -> None:
        self._query(i, z[None], ask)
        if not last and self.s.n_active:
            candidates = self._near(i, z, self.s.radius, self.s.n_candidates)
            self._query(i, self._most_uncertain(self.gp, candidates, self.s.n_active), ask)

    def end_round(self, x: Array, tried: Array, values: Array, ends: Array, ask: Ask) -> None:
        self.own = []
        for i, seen in enumerate(self.seen):
            seen.add(tried[None], values[i : i + 1])
            if self.s.n_server:
                reach = float(np.abs(x - ends[i]).mean()) / 2
                candidates = self._near(i, x, reach, self.s.n_server_candidates)
                self._query(i, self._most_uncertain(self._fit(i, x), candidates, self.s.n_server), ask)
            self.own.append(self.surrogate.fit(*seen.nearest(x, self.s.max_sent)))
        together = self.surrogate.aggregate(self.own, self.s.shares)
        self.difference = [together.values - own.values for own in self.own]


CLIENTS: dict[str, type[Plain]] = {
    "fzoos": Trajectory,
    "fedzo": Plain,
    "fedprox": Prox,
    "scaffold1": Scaffold1,
    "scaffold2": Scaffold2,
    "true": Exact,
}
