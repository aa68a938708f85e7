"""Cross-entropy of softmax scores with its slope, in closed form: classes first, so that samples lie next to each other."""

from __future__ import annotations

import torch
from torch import Tensor


def residual_and_losses(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax minus one-hot labels, which is the slope of each sample's loss in its scores; and the losses.

    Parameters
    ----------
    scores : Tensor, shape (classes, n)
    labels : Tensor of int64, shape (n,)
        From 0 to classes - 1.

    Returns
    -------
    residual : Tensor, shape (classes, n)
    losses : Tensor, shape (n,)

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.bilevel_penalty.softmax import residual_and_losses
    >>> residual_and_losses(torch.tensor([[0.0], [0.0]]), torch.tensor([1]))[0].tolist()
    [[0.5], [-0.5]]
    """
    logs = torch.log_softmax(scores, 0)
    picked = logs.gather(0, labels[None])
    return logs.exp().scatter_add_(0, labels[None], torch.full_like(picked, -1.0)), -picked[0]
