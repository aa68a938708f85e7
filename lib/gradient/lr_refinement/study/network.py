"""A small ReLU network on images, as a stack of runs (for sweeps) and as a plain torch module (for any torch optimizer)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lib import checks

from .sweeps import Task, minibatch_rows

#: Hidden widths of the network; inputs and classes come from the data.
HIDDEN = (64, 64)


def prepare_images(images: np.ndarray, pixels: int = 28) -> Tensor:
    """Images (n, 28, 28) in 0..255 as rows in 0..1, shape (n, pixels^2), float64.

    `pixels` 28, or 20: the middle, the box to which MNIST's digits were scaled before they were centered by their mass; or 14:
    the means of 2 x 2 pixels.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import prepare_images
    >>> prepare_images(np.full((2, 28, 28), 255, dtype=np.uint8), pixels=20).shape
    torch.Size([2, 400])
    """
    images = checks.array("images", images, shape=(None, 28, 28), low=0, high=255).astype(np.uint8)
    checks.choice("pixels", pixels, [14, 20, 28])
    if pixels == 14:
        small = images.reshape(-1, 14, 2, 14, 2).sum(axis=(2, 4), dtype=np.int64)
        return torch.from_numpy(small).flatten(1).double().div_(4 * 255)
    margin = (28 - pixels) // 2
    middle = np.ascontiguousarray(images[:, margin : 28 - margin, margin : 28 - margin])
    return torch.from_numpy(middle).flatten(1).double().div_(255)


def image_sets(
    load: Callable[[Literal["train", "test"]], tuple[np.ndarray, np.ndarray]], pixels: int = 28
) -> dict[str, tuple[Tensor, Tensor]]:
    """Images and classes of ``"train"`` and ``"test"``, from `lib.data.mnist` or a set like it, see `prepare_images`.

    Examples
    --------
    >>> import numpy as np
    >>> from lib.gradient.lr_refinement.study import image_sets
    >>> image_sets(lambda split: (np.zeros((2, 28, 28), dtype=np.uint8), np.array([0, 1])), pixels=14)["train"][0].shape
    torch.Size([2, 196])
    """
    checks.function("load", load)
    checks.choice("pixels", pixels, [14, 20, 28])
    sets = {split: load(split) for split in ("train", "test")}
    return {
        split: (prepare_images(images, pixels), torch.from_numpy(labels.astype(np.int64)))
        for split, (images, labels) in sets.items()
    }


def start_networks(n_inputs: int, rngs: Sequence[np.random.Generator], n_classes: int = 10) -> list[Tensor]:
    """One network per generator, torch's default initialization: W1, b1, ..., W3, b3, each (S, 1, inputs, outputs), float64."""
    return draw_layers(pairwise([n_inputs, *HIDDEN, n_classes]), rngs)


def draw_layers(shapes: Iterable[tuple[int, int]], rngs: Sequence[np.random.Generator]) -> list[Tensor]:
    """W1, b1, W2, ... for layers of these (inputs, outputs), each (S, 1, inputs or 1, outputs), one draw per generator."""
    shapes = list(shapes)
    drawn = [[_layer(rng, a, b) for a, b in shapes] for rng in rngs]
    return [torch.stack([net[k][part] for net in drawn]).unsqueeze(1) for k in range(len(shapes)) for part in (0, 1)]


def _layer(rng: np.random.Generator, n_in: int, n_out: int) -> tuple[Tensor, Tensor]:
    bound = n_in**-0.5
    W, b = rng.uniform(-bound, bound, (n_in, n_out)), rng.uniform(-bound, bound, (1, n_out))
    return torch.from_numpy(W), torch.from_numpy(b)


def network_logits(params: Sequence[Tensor], x: Tensor) -> Tensor:
    """Logits of every run, shape (S, R, B, classes), for inputs (S or 1, 1, B, inputs)."""
    for layer in range(0, len(params) - 2, 2):
        x = torch.relu(x @ params[layer] + params[layer + 1])
    return x @ params[-2] + params[-1]


def network_losses(params: Sequence[Tensor], x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of every run, shape (S, R), for classes y of shape (S or 1, B)."""
    outputs = network_logits(params, x)
    classes = y[:, None].expand(outputs.shape[:3])
    return cross_entropy(outputs.flatten(0, 2), classes.flatten(), reduction="none").view(classes.shape).mean(2)


def network_gradients(params: Sequence[Tensor], x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    """Gradient of each run's own loss, like `params`."""
    leaves = [p.detach().requires_grad_() for p in params]
    return torch.autograd.grad(network_losses(leaves, x, y).sum(), leaves)


@torch.no_grad()
def evaluate_networks(params: Sequence[Tensor], x: Tensor, y: Tensor, chunk: int = 1000) -> tuple[Tensor, Tensor]:
    """Loss and error rate of every run over a data set, each of shape (S, R)."""
    loss = error = torch.zeros(params[0].shape[:2], dtype=params[0].dtype)
    for part in torch.arange(len(x)).split(chunk):
        outputs = network_logits(params, x[part][None, None])
        classes = y[part].expand(outputs.shape[:3])
        each = cross_entropy(outputs.flatten(0, 2), classes.flatten(), reduction="none").view(classes.shape)
        loss = loss + each.sum(2)
        error = error + (outputs.argmax(3) != classes).sum(2)
    return loss / len(x), error / len(x)


def as_module(params: Sequence[Tensor], seed: int = 0, run: int = 0) -> nn.Sequential:
    """One network of a stack as a torch module of its own."""
    layers: list[nn.Module] = []
    for W, b in zip(params[::2], params[1::2], strict=True):
        linear = nn.Linear(W.shape[2], W.shape[3], dtype=W.dtype)
        with torch.no_grad():
            linear.weight.copy_(W[seed, run].T)
            linear.bias.copy_(b[seed, run, 0])
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def network_task(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    n_steps: int,
    rngs: Sequence[np.random.Generator],
    batch_size: int = 64,
    n_scored: int = 5000,
) -> Task:
    """A stack that trains one network per generator; the scores are of `n_scored` images.

    ``"loss"`` is that of training images, ``"held_out"`` that of test images (with few passes over the data an estimate of
    what the steps minimize), ``"error"`` their error rate.

    Parameters
    ----------
    train, test : pairs of Tensor
        Images (n, inputs) and classes (n,).
    n_steps : int
    rngs : sequence of numpy.random.Generator
        One per seed; each draws its initialization, then its minibatches.
    batch_size, n_scored : int

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from lib.gradient.lr_refinement.study import network_task
    >>> images = torch.zeros(8, 4, dtype=torch.float64), torch.arange(8)
    >>> network_task(images, images, 3, [np.random.default_rng(0)], batch_size=2).n_steps
    3
    """
    x, y = train
    n_steps, n_scored = checks.integer("n_steps", n_steps, low=1), checks.integer("n_scored", n_scored, low=1)
    batch_size = checks.integer("batch_size", batch_size, low=1, high=len(x))
    params0 = start_networks(x.shape[1], rngs)
    rows = torch.stack([minibatch_rows(len(x), batch_size, n_steps, rng) for rng in rngs], dim=1)

    def gradient(t: int, params: list[Tensor]) -> tuple[Tensor, ...]:
        return network_gradients(params, x[rows[t]][:, None], y[rows[t]])

    def scores(params: list[Tensor]) -> dict[str, Tensor]:
        loss, _ = evaluate_networks(params, x[:n_scored], y[:n_scored])
        held_out, error = evaluate_networks(params, test[0][:n_scored], test[1][:n_scored])
        return {"loss": loss, "held_out": held_out, "error": error}

    return Task(gradient, params0, scores, n_steps)
