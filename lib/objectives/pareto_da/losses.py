"""The refinement of predictions by Bayes' rule, and the losses on it: pure functions, and one ``nn.Module``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from lib import checks

REFINEMENTS = ("bayes", "logits", "none")
_HALF = (torch.float16, torch.bfloat16)


def refine_predictions(logits: Tensor, domain_logits: Tensor, mode: str = "bayes") -> Tensor:
    r"""Class probabilities corrected for the domain, by Bayes' rule.

    Parameters
    ----------
    logits : tensor, shape (n, K)
        Of the classifier.
    domain_logits : tensor, shape (n, K)
        Entry k: the logit of "this sample is from the target", by the discriminator of class k.
    mode : {"bayes", "logits", "none"}
        ``"bayes"``: probability times the domain's probability, normalized (the paper's rule). ``"logits"``: the authors' code
        multiplies logits instead. ``"none"``: the classifier's own probabilities.

    Returns
    -------
    tensor, shape (n, K)
        Rows sum to 1. Half precision is computed, and returned, in float32.

    Raises
    ------
    TypeError, ValueError
        For tensors that are not (n, K) of finite floating-point numbers, both of one shape.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.pareto_da import refine_predictions
    >>> logits, domain = torch.zeros(1, 2), torch.tensor([[2.0, -2.0]])
    >>> [round(float(p), 3) for p in refine_predictions(logits, domain)[0]]
    [0.881, 0.119]
    """
    checks.choice("mode", mode, REFINEMENTS)
    z, u = _float(checks.tensor("logits", logits, ndim=2)), _float(checks.tensor("domain_logits", domain_logits, ndim=2))
    if z.shape != u.shape:
        raise ValueError(f"domain_logits must have the shape of logits, {tuple(z.shape)}, got {tuple(u.shape)}")
    return refined(z, u, mode)


def refined(z: Tensor, u: Tensor, mode: str) -> Tensor:
    """The rule of `refine_predictions` without its checks."""
    if mode == "none":
        return torch.softmax(z, 1)
    if mode == "logits":
        return torch.softmax(z * torch.sigmoid(u), 1)
    return torch.softmax(torch.log_softmax(z, 1) + logsigmoid(u), 1)  # (4)


class TCMLoss(nn.Module):
    r"""Minus the mutual information between sample and predicted class: the surrogate of the target's classification loss.

    ``forward(prob)`` takes class probabilities, shape (n, K), rows that sum to 1, and returns a scalar from ``-log K`` to 0.
    It is 0 for predictions that do not depend on the sample, ``-log K`` for sure and balanced ones. Half precision is summed,
    and returned, in float32.

    Raises
    ------
    TypeError, ValueError
        In ``forward``, for anything but a tensor (n, K) of probabilities whose rows sum to 1.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.pareto_da import TCMLoss
    >>> round(float(TCMLoss()(torch.eye(4))), 4)
    -1.3863
    """

    def forward(self, prob: Tensor) -> Tensor:
        p = _float(checks.tensor("prob", prob, ndim=2))
        slack = 1e-2 if prob.dtype in _HALF else 1e-4
        if (p.detach() < 0).any() or ((p.detach().sum(1) - 1).abs() > slack).any():
            raise ValueError("prob must hold probabilities whose rows sum to 1, got other numbers")
        return surrogate(p)


def surrogate(p: Tensor) -> Tensor:
    """The loss of `TCMLoss` without its checks."""
    return entropy(p).mean() - entropy(p.mean(0))  # (5)


def entropy(p: Tensor) -> Tensor:
    """Entropy along the last axis in nats; zeros count for nothing and have no slope."""
    return torch.special.entr(p.clamp_min(torch.finfo(p.dtype).tiny)).sum(-1)


def held_out_height(loss: float, n_classes: int) -> float:
    """How far the held-out surrogate is above its least value, -log K: what the program asks about."""
    return loss + math.log(n_classes)  # (7)


def discriminator_loss(domain_logits_source: Tensor, labels: Tensor, domain_logits_target: Tensor, refined: Tensor) -> Tensor:
    """Loss of the K class discriminators: source samples count for their label's, target samples for each by refined shares.

    Parameters
    ----------
    domain_logits_source, domain_logits_target : tensor, shapes (n, K) and (n', K)
        Logits of "target".
    labels : integer tensor, shape (n,)
        Of the source samples, 0 to K - 1.
    refined : tensor, shape (n', K)
        Refined probabilities of the target samples; no gradient flows into them.

    Returns
    -------
    tensor
        The mean over source samples plus that over target samples, halved.

    Raises
    ------
    TypeError, ValueError
        For other shapes, labels out of range, or numbers that are not finite.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.pareto_da.losses import discriminator_loss
    >>> zeros = torch.zeros(1, 2)
    >>> round(float(discriminator_loss(zeros, torch.tensor([1]), zeros, torch.tensor([[0.5, 0.5]]))), 4)
    0.6931
    """
    source = checks.tensor("domain_logits_source", domain_logits_source, ndim=2)
    target = checks.tensor("domain_logits_target", domain_logits_target, ndim=2)
    share = checks.tensor("refined", refined, ndim=2).detach()
    if share.shape != target.shape or source.shape[1] != target.shape[1]:
        raise ValueError(
            f"refined must have the shape of domain_logits_target, {tuple(target.shape)}, got {tuple(share.shape)}"
        )
    return classwise_loss(source, class_labels(labels, len(source), source.shape[1]), target, share)


def classwise_loss(source: Tensor, labels: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """The loss of `discriminator_loss` without its checks."""
    own = source.gather(-1, labels.unsqueeze(-1))
    return -(logsigmoid(-own).mean() + (share * logsigmoid(target)).sum(1).mean()) / 2  # (6)


def class_labels(labels: Tensor, n: int, n_classes: int) -> Tensor:
    """Integer labels of n samples, 0 to K - 1, checked."""
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        raise TypeError(f"labels must be a tensor of integers, got {checks.shown(labels)}")
    if labels.shape != (n,):
        raise ValueError(f"labels must have shape ({n},), got {tuple(labels.shape)}")
    if n and (labels.min() < 0 or labels.max() >= n_classes):
        raise ValueError(f"labels must be 0 to {n_classes - 1}, got {int(labels.min())} to {int(labels.max())}")
    return labels.long()


def _float(x: Tensor) -> Tensor:
    return x.float() if x.dtype in _HALF else x
