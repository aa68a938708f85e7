"""Many runs at once: their parameters are stacked, so that one pass of the networks serves all.

A run of `Adaptation` on small networks spends its time between the operations, not in them. `train_together` takes the same
steps as each run would take alone (a test compares).
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from lib import checks
from lib.objectives.pareto_da.adaptation import Adaptation, five_losses, lr_at, ramp_at
from lib.objectives.pareto_da.losses import held_out_height

PARTS = ("net", "head", "domain", "classwise")
#: Called with the number of steps taken, when the runs are up to date.
Watch = Callable[[int], Any]


class _Stack:
    """Stacked parameters of runs of one architecture, with momentum; `back` writes them into the runs."""

    def __init__(self, runs: Sequence[Adaptation]) -> None:
        if any(True for run in runs for part in PARTS for _ in getattr(run, part).buffers()):
            raise ValueError("runs must have no batch normalization to be stacked")
        self.runs = runs
        self.plain = {part: copy.deepcopy(getattr(runs[0], part)).to("meta") for part in PARTS}
        self.theta = {part: stack_module_state([getattr(run, part) for run in runs])[0] for part in PARTS}
        group = runs[0].optimizer.param_groups[0]
        self.momentum, self.decay = group["momentum"], group["weight_decay"]
        self.speed = {part: {k: self._speed(part, k, p) for k, p in self.theta[part].items()} for part in PARTS}

    def _speed(self, part: str, name: str, like: Tensor) -> Tensor:
        states = [run.optimizer.state.get(dict(getattr(run, part).named_parameters())[name], {}) for run in self.runs]
        first = torch.zeros_like(like[0])
        kept = [state.get("momentum_buffer") for state in states]
        return torch.stack([first if buffer is None else buffer for buffer in kept])

    def call(self, part: str, theta: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(self.plain[part], theta, (x,))

    def update(self, grads: dict[str, dict[str, Tensor]], lr: Tensor, moves: dict[str, Tensor]) -> None:
        """One step of Nesterov's descent; `moves` says which runs move a part."""
        with torch.no_grad():
            for part, found in grads.items():
                for name, g in found.items():
                    p, v = self.theta[part][name], self.speed[part][name]
                    shape = (-1, *(1,) * (p.ndim - 1))
                    g = g + self.decay * p
                    v.copy_(torch.where(moves[part].view(shape), self.momentum * v + g, v))
                    step = g + self.momentum * v
                    p.sub_(torch.where(moves[part].view(shape), lr.view(shape) * step, torch.zeros_like(p)))

    def back(self) -> None:
        with torch.no_grad():
            for r, run in enumerate(self.runs):
                for part in PARTS:
                    for name, p in getattr(run, part).named_parameters():
                        p.copy_(self.theta[part][name][r])
                        run.optimizer.state[p]["momentum_buffer"] = self.speed[part][name][r].clone()


def warm_together(runs: Sequence[Adaptation], X: Tensor, y: Tensor, batches: npt.NDArray[np.int64], lr: float) -> None:
    """`Adaptation.warm_up` for several runs at once.

    Parameters
    ----------
    runs : sequence of Adaptation
        Of one architecture; changed in place.
    X : tensor, shape (R, n, d)
        Source inputs of each run.
    y : integer tensor, shape (R, n)
    batches : int array, shape (steps, R, B)
        Rows of each batch.
    lr : float
        Learning rate, above 0.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of these shapes.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from lib.objectives.pareto_da import Adaptation
    >>> from lib.objectives.pareto_da.study import warm_together
    >>> runs = [Adaptation(torch.nn.Linear(4, 8), 8, 2, seed=s) for s in (0, 1)]
    >>> X, y = torch.ones(2, 20, 4), torch.arange(20).repeat(2, 1) % 2
    >>> warm_together(runs, X, y, np.zeros((3, 2, 5), dtype=int), lr=0.1)
    >>> runs[0].warm_count
    3
    """
    rows, rate = _rows("batches", batches, len(runs)), checks.positive("lr", lr)
    _data(runs, ("X", X), ("y", y))
    stack = _Stack(runs)
    lrs, all_of = torch.full((len(runs),), rate, dtype=X.dtype), torch.ones(len(runs), dtype=torch.bool)

    def loss(net: Any, head: Any, x: Tensor, t: Tensor) -> Tensor:
        return cross_entropy(stack.call("head", head, stack.call("net", net, x)), t)

    for i in rows:
        total = vmap(loss)(stack.theta["net"], stack.theta["head"], _take(X, i), _take(y, i)).sum()
        grads = _grads(total, {part: stack.theta[part] for part in ("net", "head")})
        stack.update(grads, lrs, dict.fromkeys(("net", "head"), all_of))
    _warmed(stack, len(rows))


def _warmed(stack: _Stack, steps: int) -> None:
    """Write back features and classifier only: the discriminators have not moved yet."""
    with torch.no_grad():
        for r, run in enumerate(stack.runs):
            for part in ("net", "head"):
                for name, p in getattr(run, part).named_parameters():
                    p.copy_(stack.theta[part][name][r])
                    run.optimizer.state[p]["momentum_buffer"] = stack.speed[part][name][r].clone()
            run.warm_count += steps


def train_together(
    runs: Sequence[Adaptation],
    data: tuple[Tensor, Tensor, Tensor, Tensor],
    batches: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]],
    watch: Watch | None = None,
    every: int = 50,
) -> None:
    """`Adaptation.step` for several runs at once.

    Parameters
    ----------
    runs : sequence of Adaptation
        Of one architecture, refinement and step count; methods, learning rates and scales may differ. Changed in place.
    data : four tensors, shapes (R, n, d), (R, n), (R, n', d), (R, n'', d)
        Source inputs, labels, target inputs, held-out target inputs of each run.
    batches : three int arrays, shapes (steps, R, B)
        Rows of each batch.
    watch : function, optional
        Called every so many steps, and after the last.
    every : int
        See ``watch``; at least 1.

    Raises
    ------
    TypeError, ValueError
        For arrays that are not of these shapes, or runs that cannot be stacked.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from lib.objectives.pareto_da import Adaptation
    >>> from lib.objectives.pareto_da.study import train_together
    >>> runs = [Adaptation(torch.nn.Linear(4, 8), 8, 2, method=m) for m in ("sum", "pareto")]
    >>> X, y = torch.rand(2, 20, 4), torch.arange(20).repeat(2, 1) % 2
    >>> rows = np.random.default_rng(0).integers(20, size=(3, 2, 10))
    >>> train_together(runs, (X, y, X, X), (rows, rows, rows))
    >>> runs[1].step_count
    3
    """
    X, y, Z, V = data
    i_all, j_all, k_all = (_rows("batches", part, len(runs)) for part in batches)
    _data(runs, ("data", X), ("data", y), ("data", Z), ("data", V))
    every = checks.integer("every", every, low=1)
    if len({(run.refine == runs[0].refine, run.step_count, run.ramp) for run in runs}) != 1:
        raise ValueError("runs must share refine, ramp and step_count to be stacked")
    stack, lrs = _Stack(runs), torch.tensor([run.lr for run in runs], dtype=X.dtype)
    scales = torch.tensor(np.array([run.scales for run in runs]), dtype=X.dtype)
    adapts = torch.tensor([run.method != "source" for run in runs])
    moves = {"net": adapts | ~adapts, "head": adapts | ~adapts, "domain": adapts, "classwise": adapts}

    def losses(
        net: Any, head: Any, domain: Any, classwise: Any, x: Tensor, t: Tensor, z: Tensor, v: Tensor
    ) -> tuple[Tensor, ...]:
        f = stack.call("net", net, torch.cat([x, z, v]))
        heads = (
            functools.partial(stack.call, *part) for part in (("head", head), ("domain", domain), ("classwise", classwise))
        )
        call: Any = five_losses
        return tuple(call(*heads, f[: len(x) + len(z)], f[len(x) + len(z) :], t, runs[0].refine))

    for step in range(len(i_all)):
        drawn = _take(X, i_all[step]), _take(y, i_all[step]), _take(Z, j_all[step]), _take(V, k_all[step])
        stacked: Any = vmap(losses)
        told = stacked(*(stack.theta[part] for part in PARTS), *drawn)
        grads, G, guide = _all_gradients(stack, told, scales, ramp_at(runs[0].step_count, runs[0].ramp))
        w = _weigh(runs, told, G, guide)
        direction = (w[:, None, :] @ G)[:, 0]
        sizes = [p[0].numel() for p in stack.theta["net"].values()]
        pieces = zip(stack.theta["net"].items(), direction.split(sizes, 1), strict=True)
        grads["net"] = {name: part.view_as(p) for (name, p), part in pieces}
        stack.update(grads, lrs * lr_at(runs[0].step_count, 1.0), moves)
        for run in runs:
            run.step_count += 1
        if watch is not None and ((step + 1) % every == 0 or step + 1 == len(i_all)):
            stack.back()
            watch(step + 1)
    stack.back()


def _all_gradients(stack: _Stack, told: tuple[Tensor, ...], scales: Tensor, lam: float) -> tuple[Any, Tensor, Tensor]:
    """Gradients of the other parts, G (R, 3, P) and the guide (R, P): one backward pass for each loss serves all runs."""
    net, theta = {"net": stack.theta["net"]}, stack.theta
    s, d, t, v, c = (loss.sum() for loss in told)
    own = _grads(s, net | {"head": theta["head"]})
    against = _grads(d, net | {"domain": theta["domain"]})
    toward, guide, rest = _grads(t, net), _grads(v, net), _grads(c, {"classwise": theta["classwise"]})
    flat = [torch.cat([g.flatten(1) for g in found["net"].values()], 1) for found in (own, against, toward, guide)]
    G = torch.stack([flat[0], -lam * flat[1], flat[2]], 1) * scales[:, :, None]
    return {"head": own["head"], "domain": against["domain"], "classwise": rest["classwise"]}, G, flat[3]


def _weigh(runs: Sequence[Adaptation], told: tuple[Tensor, ...], G: Tensor, guide: Tensor) -> Tensor:
    """Each run's own weights, and its record."""
    values = torch.stack([loss.detach() for loss in told], 1).double().numpy()
    C = (G.double() @ G.double().transpose(1, 2)).numpy()
    a = (G.double() @ guide.double()[:, :, None])[:, :, 0].numpy()
    if not (np.isfinite(values).all() and np.isfinite(C).all()):
        raise ValueError("losses must stay finite: lower lr")
    weights = []
    for r, run in enumerate(runs):
        w, mode, slack = run._weights(C[r], a[r], held_out_height(float(values[r, 3]), run.n_classes))
        losses = tuple(map(float, values[r, :3]))
        run.history.append({"losses": losses, "val_loss": float(values[r, 3]), "weights": tuple(map(float, w)), "gram": C[r],
                            "guide": a[r], "mode": mode, "slack": slack})  # fmt: skip
        weights.append(np.asarray(w, dtype=float))
    return torch.tensor(np.array(weights), dtype=G.dtype)


def _grads(total: Tensor, theta: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    names = [(part, name) for part, group in theta.items() for name in group]
    found = torch.autograd.grad(total, [theta[part][name] for part, name in names], retain_graph=True)
    grads: dict[str, dict[str, Tensor]] = {part: {} for part in theta}
    for (part, name), g in zip(names, found, strict=True):
        grads[part][name] = g
    return grads


def _take(X: Tensor, rows: Tensor) -> Tensor:
    """Rows (R, B) of X (R, n, ...)."""
    return X[torch.arange(len(X))[:, None], rows]


def _rows(name: str, batches: Any, runs: int) -> Tensor:
    given = np.asarray(batches)
    if given.dtype.kind not in "iu" or given.ndim != 3 or given.shape[1] != runs or not given.size:
        raise ValueError(f"{name} must hold integers of shape (steps, {runs}, B), got {checks.shown(given)}")
    return torch.from_numpy(given.astype(np.int64))


def _data(runs: Sequence[Adaptation], *parts: tuple[str, Tensor]) -> None:
    if not runs or not all(isinstance(run, Adaptation) for run in runs):
        raise TypeError("runs must be Adaptation objects, at least one")
    for name, part in parts:
        if not isinstance(part, Tensor) or len(part) != len(runs):
            raise ValueError(f"{name} must be tensors with one entry for each of {len(runs)} runs")
        if part.is_floating_point():
            checks.tensor(name, part)
