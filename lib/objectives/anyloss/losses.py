"""AnyLoss and the score-oriented loss (SOL) as torch modules.

Han, Moniz and Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions", arXiv:2405.14745 (2024),
and its baseline, Marchetti, Guastavino, Piana and Campi, "Score-oriented loss (SOL) functions", arXiv:2103.15522.
Symbols are in `lib.objectives.anyloss`. A score is a function of the whole batch, not a mean over samples: there is
no ``reduction``, and n is the size of the batch.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lib import checks
from lib.objectives.anyloss import functional
from lib.objectives.anyloss.functional import PAPER_L, THRESHOLD_DISTRIBUTIONS, Metric

_CHECKS = {
    "beta": lambda name, value: checks.number(name, value, low=0),
    "L": checks.positive,
    "eps": lambda name, value: checks.number(name, value, low=0),
    "mu": lambda name, value: checks.number(name, value, above=0, below=1),
    "delta": checks.positive,
    "from_logits": checks.boolean,
    "check": checks.boolean,
    "distribution": lambda name, value: checks.choice(name, value, THRESHOLD_DISTRIBUTIONS),
}


class _SoftScoreLoss(nn.Module):
    """1 - metric of the confusion matrix of soft decisions; subclasses say how a probability becomes a decision."""

    metric: str | Metric
    beta: float
    from_logits: bool
    eps: float
    check: bool
    _function: Metric

    def __init__(self, metric: str | Metric, beta: float, from_logits: bool, eps: float, check: bool) -> None:
        super().__init__()
        self.metric, self.beta, self.eps, self.from_logits, self.check = metric, beta, eps, from_logits, check

    def __setattr__(self, name: str, value: Any) -> None:
        """Settings are checked whenever they are set, and the next call uses them."""
        value = _CHECKS[name](name, value) if name in _CHECKS else value
        if name in ("metric", "beta", "eps"):
            settings = {key: getattr(self, key, default) for key, default in (("metric", "f1"), ("beta", 1.0), ("eps", 0.0))}
            self.__dict__["_function"] = functional.metric_function(**{**settings, name: value})
        super().__setattr__(name, value)

    def decide(self, probs: Tensor) -> Tensor:
        """Soft decisions in [0, 1] from probabilities."""
        raise NotImplementedError

    def forward(self, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Loss of a batch: ``input``, ``target`` and ``weight`` of one shape, (N,) or (N, 1); a 0-dimensional tensor."""
        one_class = self.eps > 0
        return functional.soft_loss(
            self.decide, input, target, self._function, weight, one_class, self.check, from_logits=self.from_logits
        )

    def _describe(self, **extra: Any) -> str:
        name = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", repr(self.metric))
        shown = {"metric": name, **({"beta": self.beta} if name == "fbeta" else {}), **extra}
        return ", ".join(f"{k}={v}" for k, v in {**shown, "from_logits": self.from_logits, "eps": self.eps}.items())


class AnyLoss(_SoftScoreLoss):
    """Any score of a binary confusion matrix as a loss: 1 - metric(soft confusion matrix).

    The decision 1[p > 1/2] is replaced by A(p) = 1 / (1 + exp(-L (p - 1/2))); see `functional.soft_confusion`.

    Parameters
    ----------
    metric : str or callable, default="f1"
        ``"accuracy"``, ``"f1"``, ``"f0.5"``, ``"f2"``, ``"fbeta"``, ``"gmean"``, ``"balanced_accuracy"`` (the paper's
        losses), ``"jaccard"``, ``"mcc"``, or ``metric(tp, fp, fn, tn)``, larger is better, made of torch operations on
        0-dimensional tensors. A module with a callable can be pickled where the callable can (a lambda cannot).
    beta : float, default=1.0
        Weight of recall in ``"fbeta"``; the paper uses 0.5, 1 and 2.
    L : float, default=73.0 (the paper's value)
        Steepness. 73 is the largest integer that is safe in float64; in float32 that is 33 (`max_safe_L`).
    from_logits : bool, default=False
        Apply the sigmoid to ``input`` first.
    eps : float, default=0.0
        Added to the denominators of the named metrics; a positive value also admits batches with a single class.
    check : bool, default=True
        Look at the values of every batch. Costs one transfer from a GPU per call; left out inside ``torch.compile``.
        ``torch.func.vmap`` needs False.

    Raises
    ------
    ValueError
        In the constructor: unknown metric, beta, L or eps out of range. In ``forward``: shapes that differ (they never
        broadcast), no samples, NaN, probabilities outside [0, 1], labels other than 0/1, -1/+1 or bool, a batch with a
        single class while eps is 0, a callable whose value is not finite.
    TypeError
        Input that is not floating point; a callable that does not return a 0-dimensional tensor.

    Notes
    -----
    Input in half precision is computed in float32. Settings can be changed after construction and are checked then, too.
    A is flat away from p = 1/2: a network whose outputs start on one side of 1/2 may never leave it. Start the output
    layer at 0 (every p is 1/2, where A is steepest).

    References
    ----------
    Han et al. (2024), the accuracy, F-beta, G-mean and balanced-accuracy losses.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.anyloss import AnyLoss
    >>> loss = AnyLoss("fbeta", beta=2.0, from_logits=True)
    >>> logits = torch.tensor([2.0, -1.0, 0.1], requires_grad=True)
    >>> loss(logits, torch.tensor([1, 0, 0])).backward()
    """

    def __init__(
        self,
        metric: str | Metric = "f1",
        beta: float = 1.0,
        L: float = PAPER_L,
        from_logits: bool = False,
        eps: float = 0.0,
        check: bool = True,
    ) -> None:
        super().__init__(metric, beta, from_logits, eps, check)
        self.L = L

    def decide(self, probs: Tensor) -> Tensor:
        """Amplified probabilities A(p)."""
        return functional.sharpen(probs, self.L)

    def extra_repr(self) -> str:
        return self._describe(L=self.L)


class SOLLoss(_SoftScoreLoss):
    """Score-oriented loss: 1 - expected confusion-matrix score under a random threshold (expectation inside the score).

    The decision 1[p > tau] is replaced by P(tau < p), the cdf F of a random threshold tau. AnyLoss is the special case
    of a logistic cdf around 1/2 with scale 1/L.

    Parameters
    ----------
    metric : str or callable, default="f1"
        As in `AnyLoss`.
    distribution : {"cosine", "uniform", "logistic"}, default="cosine"
        Of the threshold; the AnyLoss paper's baseline is the raised cosine.
    mu, delta : float, default=0.5 and 0.1 (the paper's baseline)
        Center and half-width (scale, for ``"logistic"``) of the distribution.
    beta, from_logits, eps, check
        As in `AnyLoss`.

    Raises
    ------
    ValueError, TypeError
        As in `AnyLoss`; also an unknown distribution, delta not positive, mu outside (0, 1).

    References
    ----------
    Marchetti et al. (2021), arXiv:2103.15522.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.anyloss import SOLLoss
    >>> probs, y = torch.tensor([0.55, 0.3]), torch.tensor([1, 0])
    >>> round(float(SOLLoss("f1")(probs, y)), 4)
    0.0476
    """

    def __init__(
        self,
        metric: str | Metric = "f1",
        distribution: str = "cosine",
        mu: float = 0.5,
        delta: float = 0.1,
        *,
        beta: float = 1.0,
        from_logits: bool = False,
        eps: float = 0.0,
        check: bool = True,
    ) -> None:
        super().__init__(metric, beta, from_logits, eps, check)
        self.distribution, self.mu, self.delta = distribution, mu, delta

    def decide(self, probs: Tensor) -> Tensor:
        """P(tau < p) for the random threshold tau."""
        return functional.threshold_cdf(probs, self.distribution, self.mu, self.delta)

    def extra_repr(self) -> str:
        return self._describe(distribution=self.distribution, mu=self.mu, delta=self.delta)
