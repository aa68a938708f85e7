"""A federated run: rounds of local steps and an average, with every query and every number sent counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lib import checks
from lib.backprop_free.fzoos.clients import CLIENTS, Exact, Settings, exact_slopes
from lib.backprop_free.fzoos.gp import Array
from lib.backprop_free.fzoos.steps import Adam, corrected

MEASURED = ("cos_local", "cos_global", "h", "e", "gamma_best")


class Run:
    """A run between two rounds: everything but the functions. Can be pickled and copied."""

    def __init__(self, settings: Settings, x: Array, n: int, rng: np.random.Generator) -> None:
        self.s, self.x, self.n, self.r = settings, x, n, 0
        streams = [np.random.default_rng(rng.integers(2**63, size=4)) for _ in range(n + 1)]
        self.clients = CLIENTS[settings.method](settings, len(x), streams[1:], streams[0])
        self.counts = np.zeros(n, dtype=int)
        self.values: list[float] = []
        self.path, self.queries, self.sent = [x.copy()], [0], [(0, 0)]
        self.measured: dict[str, list[list[float]]] = {name: [] for name in MEASURED}

    @property
    def asked(self) -> int:
        """Queries of one client (all ask alike)."""
        return int(self.counts.max())

    def round(self, fs: Sequence[Callable[..., Any]], grads: Sequence[Callable[..., Any]]) -> None:
        """Local steps of every client, then the server's."""
        self.r += 1
        ask = Asker(fs, self.counts, self.s.vectorized, None if self.values else self.x)
        if isinstance(self.clients, Exact):
            self.clients.grads = grads
        self.clients.begin_round(self.r, self.x, ask)
        measured = Measured(grads, self.s.shares, self.s.local_steps)
        ends = np.array([self._local(i, ask, measured) for i in range(self.n)])
        if not self.values:
            self.values.append(float(self.s.shares @ ask.watched()))
        self._server(ends, ask)
        for name, row in measured.rows().items():
            self.measured[name].append(row)
        if isinstance(self.clients, Exact):
            self.clients.grads = ()

    def _local(self, i: int, ask: Asker, measured: Measured) -> Array:
        """Where client i's local steps end."""
        z, adam = self.x.copy(), Adam(len(self.x), self.s.lr)
        self.clients.begin(i, z, ask)
        for t in range(1, self.s.local_steps + 1):
            g, c = self.clients.estimate(i, z, ask), self.clients.correction(i, z)
            direction = corrected(g, self.clients.length(t), c)
            measured.note(i, t, z, g, c, direction)
            z = np.clip(z - adam.step(direction), self.s.low, self.s.high)
            self.clients.arrived(i, z, t == self.s.local_steps, ask)
        return z

    def _server(self, ends: Array, ask: Asker) -> None:
        """The server goes toward the average of the clients' ends, and back if it shall where the value has not fallen."""
        tried = self.x - self.s.server_lr * (self.s.shares @ (self.x - ends))
        tried = np.clip(tried, self.s.low, self.s.high)
        values = np.array([ask(i, tried[None])[0] for i in range(self.n)])
        x, mean, (up, down) = tried, float(self.s.shares @ values), self.clients.floats()
        if self.s.rollback:
            up += 1  # the client's value
            if mean >= self.values[-1]:
                x, mean = self.x, self.values[-1]
        self.clients.end_round(x, tried, values, ends, ask)
        self.x = x
        self.values.append(mean)
        self.path.append(x.copy())
        self.queries.append(self.asked)
        self.sent.append((self.sent[-1][0] + up, self.sent[-1][1] + down))

    def history(self) -> dict[str, Array]:
        """What has been recorded, as arrays.

        For each round, from 0 on: "x", "fun", "queries" of one client, "floats_up", "floats_down" (numbers that one client
        has sent and received). With exact gradients, for each round and local iteration, averaged over clients: "cos_local",
        cosine of the estimated and the true local gradient; "cos_global", of the direction used and the true global gradient;
        "h", "e", root mean squares of the local gradient's distance to the global one and of the correction's error;
        "gamma_best", the length that would have been best.
        """
        up, down = np.array(self.sent).T
        found = {"x": np.array(self.path), "fun": np.array(self.values), "queries": np.array(self.queries)}
        found |= {"floats_up": up, "floats_down": down}
        return found | {name: np.array(rows) for name, rows in self.measured.items() if rows}


class Asker:
    """Asks clients for values at copies of points, and counts; remembers the values at one point that is watched."""

    def __init__(
        self, fs: Sequence[Callable[..., Any]], counts: np.ndarray, vectorized: bool, watch: Array | None = None
    ) -> None:
        self.fs, self.counts, self.vectorized, self.watch = fs, counts, vectorized, watch
        self.known: dict[int, float] = {}

    def __call__(self, i: int, X: Array) -> Array:
        self.counts[i] += len(X)
        values = self.fs[i](X.copy()) if self.vectorized else [self.fs[i](x.copy()) for x in X]
        found = np.asarray(checks.array(f"values of fs[{i}]", values, nan=True, inf=True), dtype=float)
        if found.size != len(X):
            raise ValueError(f"fs[{i}] must return one number for each point, got shape {found.shape} for {len(X)}")
        if not np.isfinite(found).all():
            raise ValueError(f"fs[{i}] must return finite numbers, got {found[~np.isfinite(found)][0]}")
        found = found.reshape(len(X))
        if self.watch is not None and i not in self.known:
            for k in np.flatnonzero((self.watch == X).all(-1))[:1]:
                self.known[i] = float(found[k])
        return found

    def watched(self) -> Array:
        """Every client's value at the point that is watched; asked now where it was not."""
        assert self.watch is not None
        for i in range(len(self.fs)):
            if i not in self.known:
                self(i, self.watch[None])
        return np.array([self.known[i] for i in range(len(self.fs))])


class Measured:
    """How good the directions of a round are, from exact gradients; nothing where these are not known."""

    def __init__(self, grads: Sequence[Callable[..., Any]], shares: Array, steps: int) -> None:
        self.grads, self.shares = grads, shares
        self.sums = np.zeros((6, steps))

    def note(self, i: int, t: int, z: Array, g: Array, c: Array | None, direction: Array) -> None:
        """Client i's local iteration t at z: its estimate g, its correction c, the direction used."""
        if not self.grads:
            return
        every = exact_slopes(self.grads, z)
        whole, c = self.shares @ every, np.zeros_like(z) if c is None else c
        h, e = every[i] - whole, every[i] - whole + c
        off = g - whole
        row = [cosine(g, every[i]), cosine(direction, whole), h @ h, e @ e, -off @ c, c @ c]
        self.sums[:, t - 1] += self.shares[i] * np.array(row)

    def rows(self) -> dict[str, list[float]]:
        """Of each measure, its mean over clients at each local iteration."""
        if not self.grads:
            return {}
        local, whole, h2, e2, match, size = self.sums
        best = np.divide(match, size, out=np.full(len(size), np.nan), where=size > 0)
        rows = (local, whole, np.sqrt(h2), np.sqrt(e2), best)
        return {name: row.tolist() for name, row in zip(MEASURED, rows, strict=True)}


def cosine(a: Array, b: Array) -> float:
    """Cosine of the angle; 0 where a vector is zero."""
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size > 0 else 0.0
