"""One run of domain adaptation, step by step: networks, gradients, weights, updates.

`Adaptation` is the loop that `ParetoDA` runs on arrays; with batches of a data loader it can be stepped by hand. Its parts:
`gradients` (four gradients from one forward pass), `combine` (weights and direction), `ramp_at` and `lr_at` (schedules).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, softplus

from lib import checks

from .losses import REFINEMENTS, _float, class_labels, classwise_loss, held_out_height, refined, surrogate
from .networks import ClassDomainDiscriminators, mlp, seeded
from .weights import MODES, min_norm_weights, pareto_weights

METHODS = ("pareto", "mgda", "sum", "dann", "source")
#: A rule of one's own: (C (3, 3), a (3,), held-out height) -> three weights of the gradients; the step is their combination.
Rule = Callable[[np.ndarray, np.ndarray, float], Any]
#: Names of the three objectives, in the order of the weights.
OBJECTIVES = ("source", "domain", "target")


@dataclass(frozen=True)
class Gradients:
    """What one step needs: rows of G are the objectives' gradients in the shared parameters, guide is the held-out loss's."""

    losses: tuple[float, float, float]
    val_loss: float
    G: Tensor
    guide: Tensor
    head: Sequence[Tensor]
    domain: Sequence[Tensor]
    classwise: Sequence[Tensor]


def ramp_at(step: int, ramp: float) -> float:
    """Factor of the reversed gradient: from 0 at the start toward 1.

    Parameters
    ----------
    step : int
        At least 0.
    ramp : float
        Steps in which it reaches 0.46; above 0.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.adaptation import ramp_at
    >>> ramp_at(0, 500.0), round(ramp_at(500, 500.0), 3)
    (0.0, 0.462)
    """
    i, scale = checks.integer("step", step, low=0), checks.positive("ramp", ramp)
    return math.tanh(i / scale / 2)  # (3) = 2 / (1 + exp(-i / ramp)) - 1


def lr_at(step: int, lr: float, gamma: float = 1e-3, power: float = 0.75) -> float:
    """Learning rate at a step, ``lr * (1 + gamma * step) ** -power``, as in the authors' demo.

    Parameters
    ----------
    step : int
        At least 0.
    lr : float
        At step 0; above 0.
    gamma, power : float
        At least 0; 0.001 and 0.75 in the demo.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range.

    Examples
    --------
    >>> from lib.objectives.pareto_da.adaptation import lr_at
    >>> round(lr_at(1000, 0.1), 4)
    0.0595
    """
    i, start = checks.integer("step", step, low=0), checks.positive("lr", lr)
    return start * (1 + checks.number("gamma", gamma, low=0) * i) ** -checks.number("power", power, low=0)


class Adaptation:
    """A run that can be stepped, looked at, stopped, saved and resumed.

    Parameters
    ----------
    net : nn.Module
        Maps a batch of inputs to features, shape (n, features). It is copied. Frozen parameters stay; one that is freed later
        moves from then on.
    features, n_classes : int
        Numbers of features and classes.
    method : {"pareto", "mgda", "sum", "dann", "source"} or callable
        How the shared parameters move: by the program's weights (times 3, so that uniform weights are the plain sum), by those
        of the shortest combination (times 3), by the plain sum of three gradients, of two, or by the source's alone. A function
        gets copies of C (3, 3), a (3,) and the held-out height, and returns three weights that are used as they are.
    refine : {"bayes", "logits", "none"}
        See `refine_predictions`.
    lp_mode : {"guided", "descent", "dominance"}
        See `pareto_weights`.
    lr, momentum, weight_decay : float
        Of stochastic gradient descent with Nesterov's momentum.
    net_lr_factor : float
        Factor of the learning rate for ``net``; 0.1 for a pretrained backbone in the paper.
    ramp : float
        See `ramp_at`; the demo's 1000 counts two steps for each iteration, so 500 of ours.
    scales : three floats
        Factors on the three objectives' gradients in the shared parameters; 1 in the paper, varied in its sensitivity study.
    hidden : int
        Units of the discriminators' hidden layers.
    norm : bool
        Whether the domain discriminator has batch normalization, as in the demo.
    seed : int
        Of the heads' first weights.

    Attributes
    ----------
    history : list of dict
        One for each step: ``losses`` (3), ``val_loss``, ``weights`` (3), ``gram`` (3, 3), ``guide`` (3), ``mode``, ``slack``.
    step_count : int
        Adaptation steps taken.

    Raises
    ------
    TypeError, ValueError
        For arguments out of range, batches of another shape, or a loss that is not finite.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.pareto_da import Adaptation
    >>> run = Adaptation(torch.nn.Linear(4, 8), features=8, n_classes=2, seed=0)
    >>> x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    >>> told = run.step(x, (x[:, 0] > 0).long(), x + 1, x + 1)
    >>> told["mode"], round(sum(told["weights"]), 6)
    ('guided', 3.0)
    """

    def __init__(
        self,
        net: nn.Module,
        features: int,
        n_classes: int,
        *,
        method: str | Rule = "pareto",
        refine: str = "bayes",
        lp_mode: str = "guided",
        lr: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-3,
        net_lr_factor: float = 1.0,
        ramp: float = 500.0,
        scales: Sequence[float] = (1.0, 1.0, 1.0),
        hidden: int = 64,
        norm: bool = False,
        seed: int = 0,
    ) -> None:
        if not isinstance(net, nn.Module):
            raise TypeError(f"net must be a torch.nn.Module, got {checks.shown(net)}")
        F, K = checks.integer("features", features, low=1), checks.integer("n_classes", n_classes, low=2)
        self.method = method if callable(method) else checks.choice("method", method, METHODS)
        self.refine, self.lp_mode = checks.choice("refine", refine, REFINEMENTS), checks.choice("lp_mode", lp_mode, MODES)
        self.lr, self.ramp = checks.positive("lr", lr), checks.positive("ramp", ramp)
        self.scales = checks.array("scales", scales, shape=(3,), low=0)
        self.features, self.n_classes, width = F, K, checks.integer("hidden", hidden, low=1)
        with seeded(checks.integer("seed", seed, low=0)):
            self.net = copy.deepcopy(net)
            example = next((p for p in self.net.parameters() if p.requires_grad), None)
            if example is None:
                raise ValueError("net must have parameters to train, got none")
            heads = nn.Linear(F, K), mlp([F, width, 1], norm=norm), ClassDomainDiscriminators(F, K, max(width // 2, 1))
        self.head, self.domain, self.classwise = (part.to(example.device, example.dtype) for part in heads)
        mass = checks.number("momentum", momentum, low=0, below=1)
        decay = checks.number("weight_decay", weight_decay, low=0)
        factor = checks.number("net_lr_factor", net_lr_factor, above=0)
        groups = [{"params": list(self.net.parameters()), "factor": factor}, {"params": self.others, "factor": 1.0}]
        self.optimizer = torch.optim.SGD(groups, lr=self.lr, momentum=mass, weight_decay=decay, nesterov=mass > 0)
        self.step_count, self.warm_count, self.history = 0, 0, []  # type: tuple[int, int, list[dict[str, Any]]]

    @property
    def shared(self) -> list[Tensor]:
        """Trained parameters of the features: theta."""
        return [p for p in self.net.parameters() if p.requires_grad]

    @property
    def others(self) -> list[Tensor]:
        """Parameters of the classifier, the domain discriminator and the class discriminators."""
        return [p for part in (self.head, self.domain, self.classwise) for p in part.parameters()]

    def warm_up(self, x: Tensor, y: Tensor, lr: float | None = None) -> float:
        """One step on the source's classification loss alone, for features and classifier; returns the loss."""
        labels = class_labels(y, len(checks.tensor("x", x)), self.n_classes)
        rate = self.lr if lr is None else checks.positive("lr", lr)
        loss = cross_entropy(self.head(self._features(x)), labels)
        params, at = [*self.shared, *self.head.parameters()], f"warm-up step {self.warm_count}"
        found = torch.autograd.grad(loss, params, materialize_grads=True)
        _refuse_overflow((float(loss.detach()), *(float(g.abs().max()) for g in found)), at)
        self._apply(dict(zip(params, found, strict=True)), rate)
        self.warm_count += 1
        return float(loss.detach())

    def step(self, x_source: Tensor, y_source: Tensor, x_target: Tensor, x_held_out: Tensor) -> dict[str, Any]:
        """One adaptation step from a labeled source batch, a target batch, and a held-out target batch; what happened in it."""
        found = self.gradients(x_source, y_source, x_target, x_held_out)
        direction, told = self.combine(found)
        updates: dict[Tensor, Tensor] = {}
        for p, part in zip(self.shared, direction.split([p.numel() for p in self.shared]), strict=True):
            updates[p] = part.view_as(p)
        updates |= dict(zip(self.head.parameters(), found.head, strict=True))
        if self.method != "source":
            updates |= dict(zip(self.domain.parameters(), found.domain, strict=True))
            updates |= dict(zip(self.classwise.parameters(), found.classwise, strict=True))
        self._apply(updates, lr_at(self.step_count, self.lr))
        self.step_count += 1
        self.history.append(told)
        return told

    def gradients(self, x_source: Tensor, y_source: Tensor, x_target: Tensor, x_held_out: Tensor) -> Gradients:
        """All gradients of one step; changes nothing but running statistics of batch normalization."""
        labels = class_labels(y_source, len(x_source), self.n_classes)
        for name, batch in (("x_source", x_source), ("x_target", x_target), ("x_held_out", x_held_out)):
            if checks.tensor(name, batch).shape[1:] != x_source.shape[1:]:
                wanted = ", ".join(map(str, x_source.shape[1:]))
                raise ValueError(f"{name} must have shape (n, {wanted}), as x_source has, got {tuple(batch.shape)}")
        f = self._features(torch.cat([x_source, x_target]))
        aside = {name: buffer.clone() for name, buffer in self.net.named_buffers()}  # held-out data leave no trace in these
        f_held_out = self._checked(functional_call(self.net, aside, (self._normal(x_held_out),)), len(x_held_out))
        loss_s, loss_d, loss_t, loss_v, loss_c = five_losses(
            self.head, self.domain, self.classwise, f, f_held_out, labels, self.refine
        )
        lam, theta = ramp_at(self.step_count, self.ramp), self.shared
        head, domain = list(self.head.parameters()), list(self.domain.parameters())
        own, rest = _grads(loss_s, theta, head)
        against, d_rest = _grads(loss_d, theta, domain)
        toward, _ = _grads(loss_t, theta, [])
        guide, _ = _grads(loss_v, theta, [])
        _, c_rest = _grads(loss_c, [], list(self.classwise.parameters()))
        G = (
            torch.stack([own, -lam * against, toward])
            * torch.as_tensor(self.scales, dtype=own.dtype, device=own.device)[:, None]
        )
        losses = float(loss_s.detach()), float(loss_d.detach()), float(loss_t.detach())
        height = float(loss_v.detach())
        _refuse_overflow((*losses, height, float(G.abs().max()), float(guide.abs().max())), f"step {self.step_count}")
        return Gradients(losses, height, G, guide, rest, d_rest, c_rest)

    def combine(self, found: Gradients) -> tuple[Tensor, dict[str, Any]]:
        """The direction in the shared parameters, shape (P,), and what the step's record holds."""
        precise = found.G.detach().to(torch.float64)
        C = (precise @ precise.T).cpu().numpy()
        a = (precise @ found.guide.detach().to(torch.float64)).cpu().numpy()
        height = held_out_height(found.val_loss, self.n_classes)
        w, mode, slack = self._weights(C, a, height)
        told = {"losses": found.losses, "val_loss": found.val_loss, "weights": tuple(map(float, w)), "gram": C, "guide": a,
                "mode": mode, "slack": slack}  # fmt: skip
        return torch.as_tensor(w, dtype=found.G.dtype, device=found.G.device) @ found.G, told  # (1)

    def _weights(self, C: np.ndarray, a: np.ndarray, height: float) -> tuple[Any, str, Any]:
        if callable(self.method):
            return checks.array("weights", self.method(C.copy(), a.copy(), height), shape=(3,)), "own", None
        if self.method == "pareto":
            program = pareto_weights(C, a, height, mode=self.lp_mode)
            return 3 * program.x, program.mode, program.slack  # (11)
        fixed = {"source": (1.0, 0.0, 0.0), "dann": (1.0, 1.0, 0.0), "sum": (1.0, 1.0, 1.0)}
        return (3 * min_norm_weights(C) if self.method == "mgda" else fixed[self.method]), self.method, None

    def predict_logits(self, x: Tensor) -> Tensor:
        """The classifier's logits, shape (n, K), in evaluation mode."""
        modes = {part: part.training for part in self.net.modules()}
        self.net.eval()
        try:
            with torch.no_grad():
                return self.head(self._features(x))
        finally:
            for part, was in modes.items():  # one by one: frozen layers may be in another mode than the rest
                part.training = was

    def state_dict(self) -> dict[str, Any]:
        """Everything but the settings that the continuation depends on, as copies; `torch.load` reads it without unpickling."""
        modules = {name: getattr(self, name).state_dict() for name in ("net", "head", "domain", "classwise", "optimizer")}
        plain = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in told.items()} for told in self.history]
        return copy.deepcopy({**modules, "step_count": self.step_count, "warm_count": self.warm_count, "history": plain})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of a run with the same networks and settings."""
        parts = ("net", "head", "domain", "classwise", "optimizer")
        wanted = {*parts, "step_count", "warm_count", "history"}
        if not isinstance(state, dict) or not wanted <= state.keys():
            raise ValueError(f"state must hold {', '.join(sorted(wanted))}, as state_dict returns, got {checks.shown(state)}")
        state = copy.deepcopy(state)
        for name in parts:
            getattr(self, name).load_state_dict(state[name])
        self.step_count, self.warm_count = state["step_count"], state["warm_count"]
        self.history = [{k: np.array(v) if isinstance(v, list) else v for k, v in told.items()} for told in state["history"]]

    def _features(self, x: Tensor) -> Tensor:
        return self._checked(self.net(self._normal(x)), len(x))

    def _normal(self, x: Tensor) -> Tensor:
        """The batch, if batch normalization can be trained on it."""
        norms = nn.modules.batchnorm._BatchNorm
        if len(x) == 1 and any(isinstance(part, norms) and part.training for part in self.net.modules()):
            raise ValueError("batches must hold at least 2 samples where net has batch normalization, got 1")
        return x

    def _checked(self, f: Tensor, n: int) -> Tensor:
        if f.shape != (n, self.features):
            raise ValueError(f"net must return features of shape ({n}, {self.features}), got {tuple(f.shape)}")
        return f

    def _apply(self, updates: dict[Tensor, Tensor], lr: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr * group["factor"]
            for p in group["params"]:
                p.grad = updates.get(p)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def five_losses(
    head: Any, domain: Any, classwise: Any, f: Tensor, f_held_out: Tensor, labels: Tensor, refine: str
) -> list[Tensor]:
    """Losses of classifier, alignment, surrogate, held-out surrogate and class discriminators, from features and networks.

    The first len(labels) rows of f are the source's, the others the target's.
    """
    n, logits, flat = len(labels), _float(head(f)), f.detach()
    loss_s = cross_entropy(logits[:n], labels)
    told = _float(domain(f))
    loss_d = (softplus(-told[:n]).mean() + softplus(told[n:]).mean()) / 2  # (2), 1 means source
    inside = _float(classwise(flat))
    rho = refined(logits[n:], inside[n:].detach(), refine)
    rho_held_out = refined(_float(head(f_held_out)), _float(classwise(f_held_out.detach())).detach(), refine)
    loss_c = classwise_loss(inside[:n], labels, inside[n:], rho.detach())
    return [loss_s, loss_d, surrogate(rho), surrogate(rho_held_out), loss_c]


def _grads(loss: Tensor, theta: Sequence[Tensor], rest: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Gradient in the shared parameters as one vector, and in others one by one; zero in those that the loss does not use."""
    found = torch.autograd.grad(loss, [*theta, *rest], retain_graph=True, materialize_grads=True)
    flat = torch.cat([g.reshape(-1) for g in found[: len(theta)]]) if theta else found[0].new_zeros(0)
    return flat, list(found[len(theta) :])


def _refuse_overflow(values: Sequence[float], at: str) -> None:
    """Losses and gradients too large to go on with: beyond what the Gram matrix of the gradients can hold."""
    if not all(abs(value) < 1e70 for value in values):
        size = max((abs(value) for value in values), key=lambda value: (math.isnan(value), value))
        raise ValueError(
            f"losses must stay finite, got losses or gradients of {size:.3g} at {at}: lower lr, or scale the inputs"
        )
