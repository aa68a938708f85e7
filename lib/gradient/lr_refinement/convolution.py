"""A small convolutional network on square images, as a stack of runs: what `network.network_task` trains if told to."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import unfold

from .network import draw_layers

#: Channels of the two convolutions, each with kernels of 3 x 3 and stride 2; a linear layer follows.
CHANNELS = (8, 16)
KERNEL, STRIDE = 3, 2


def _shrunk(side: int) -> int:
    return (side - KERNEL) // STRIDE + 1


def start_convolutions(n_inputs: int, rngs: Sequence[np.random.Generator], n_classes: int = 10) -> list[Tensor]:
    """One network per generator, torch's default initialization: W1, b1, ..., W3, b3, each (S, 1, inputs, outputs), float64.

    A kernel is a matrix: its inputs are the 9 pixels of a patch, row by row, each with all its channels.

    Raises
    ------
    ValueError
        For images that are not square or smaller than 7 x 7.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.convolution import start_convolutions
    >>> [tuple(p.shape) for p in start_convolutions(196, [np.random.default_rng(0)])[::2]]
    [(1, 1, 9, 8), (1, 1, 72, 16), (1, 1, 64, 10)]
    """
    side = isqrt(n_inputs)
    if side * side != n_inputs or side < 7:
        raise ValueError(f"images must be square, at least 7 x 7, got {n_inputs} pixels")
    first, second = CHANNELS
    shapes = [(KERNEL**2, first), (first * KERNEL**2, second), (second * _shrunk(_shrunk(side)) ** 2, n_classes)]
    return draw_layers(shapes, rngs)


def convolution_logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """Logits of every run, shape (S, R, B, classes), for images (S or 1, 1, B, side^2).

    Convolutions are matrix products with the patches of 3 x 3 pixels, so that runs with kernels of their own share a batch.
    """
    W1, b1, W2, b2, W3, b3 = params
    n_seeds, n_images, side = x.shape[0], x.shape[2], isqrt(x.shape[3])
    patches = unfold(x.reshape(-1, 1, side, side), KERNEL, stride=STRIDE).mT.reshape(n_seeds, 1, -1, KERNEL**2)
    hidden = torch.relu(patches @ W1 + b1)
    n_runs, side = hidden.shape[:2].numel() * n_images, _shrunk(side)
    image, last = hidden.reshape(n_runs, side, side, -1), STRIDE * _shrunk(side) - 1
    starts = [(i, j) for i in range(KERNEL) for j in range(KERNEL)]
    patches = torch.cat([image[:, i : i + last : STRIDE, j : j + last : STRIDE] for i, j in starts], -1)
    hidden = torch.relu(patches.reshape(*hidden.shape[:2], -1, W2.shape[2]) @ W2 + b2)
    return hidden.reshape(*hidden.shape[:2], n_images, -1) @ W3 + b3
