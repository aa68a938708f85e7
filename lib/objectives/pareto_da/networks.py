"""The networks of the method: small ones for arrays and for images, domain discriminators, and (as an option) pretrained
image backbones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lib import checks

BACKBONES = ("resnet50", "resnet101")
#: Names that the estimator knows: a small convolutional network, and backbones from torchvision.
NETS = ("conv", *BACKBONES)
#: Settings of the authors' demo on VisDA-2017; not run here.
PAPER = {
    "backbone": "resnet101",
    "bottleneck": 256,
    "hidden": 1024,
    "lr": 1e-3,
    "backbone_lr_factor": 0.1,
    "momentum": 0.9,
    "weight_decay": 1e-3,
    "lr_gamma": 0.001,
    "lr_power": 0.75,
    "ramp": 500.0,
    "batch_size": 32,
    "iterations": 30_000,
    "held_out": 0.1,
    "eps": 1e-3,
}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's random numbers from this seed inside, and as they were afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def mlp(sizes: list[int], last: bool = False, norm: bool = False) -> nn.Sequential:
    """Linear layers of these sizes with ReLU in between, and behind the last one too where `last` says so.

    Parameters
    ----------
    sizes : list of int
        Inputs, hidden layers, outputs; at least two.
    last : bool
        Whether the outputs are rectified.
    norm : bool
        Whether batch normalization comes before each ReLU.

    Raises
    ------
    TypeError, ValueError
        For sizes that are no positive integers.

    Examples
    --------
    >>> from lib.objectives.pareto_da.networks import mlp
    >>> len(mlp([64, 32, 1]))
    3
    """
    widths = [checks.integer("sizes", size, low=1) for size in sizes]
    if len(widths) < 2:
        raise ValueError(f"sizes must have at least two entries, got {len(widths)}")
    rectified, normed = checks.boolean("last", last), checks.boolean("norm", norm)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(widths)):
        inner = rectified or i < len(widths) - 2
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if normed and inner else []), *([nn.ReLU()] if inner else [])]
    return nn.Sequential(*layers)


def conv_net(image: Sequence[int], features: int = 128, channels: Sequence[int] = (16, 32)) -> nn.Sequential:
    """A small network for small images: convolutions of 5 x 5 with ReLU, each halved by pooling, then a linear layer with
    batch normalization and ReLU, as the paper's bottleneck has.

    Parameters
    ----------
    image : sequence of int
        Shape of one image, (colors, height, width); each side must be divisible by 2 to the number of convolutions.
    features : int
        Outputs, at least 1.
    channels : sequence of int
        Of each convolution, at least one.

    Raises
    ------
    TypeError, ValueError
        For sizes out of range.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.pareto_da.networks import conv_net
    >>> conv_net((1, 16, 16), features=8)(torch.zeros(4, 1, 16, 16)).shape
    torch.Size([4, 8])
    """
    shape = [checks.integer("image", size, low=1) for size in image]
    widths = [checks.integer("channels", size, low=1) for size in channels]
    width, scale = checks.integer("features", features, low=1), 2 ** len(widths)
    if len(shape) != 3 or shape[1] % scale or shape[2] % scale:
        raise ValueError(f"image must be (colors, height, width) with sides divisible by {scale}, got {tuple(shape)}")
    if not widths:
        raise ValueError("channels must have at least one entry, got none")
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise([shape[0], *widths]):
        layers += [nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)]
    flat = widths[-1] * (shape[1] // scale) * (shape[2] // scale)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, width), nn.BatchNorm1d(width), nn.ReLU())


class ClassDomainDiscriminators(nn.Module):
    """One small domain discriminator for each class, all evaluated at once.

    ``forward(f)`` takes features, shape (n, features), and returns logits of "this sample is from the target", shape (n, K).
    Weights are drawn from torch's generator, as in ``nn.Linear``.

    Parameters
    ----------
    features : int
        At least 1.
    n_classes : int
        K, at least 2.
    hidden : int
        Units of the one hidden layer (the authors' demo has two of 1024, with batch normalization).

    Raises
    ------
    TypeError, ValueError
        For sizes out of range; in ``forward`` for another shape.

    Examples
    --------
    >>> import torch
    >>> from lib.objectives.pareto_da import ClassDomainDiscriminators
    >>> ClassDomainDiscriminators(8, 10, hidden=4)(torch.zeros(3, 8)).shape
    torch.Size([3, 10])
    """

    def __init__(self, features: int, n_classes: int, hidden: int = 32) -> None:
        super().__init__()
        F, K = checks.integer("features", features, low=1), checks.integer("n_classes", n_classes, low=2)
        H = checks.integer("hidden", hidden, low=1)
        bound, inner = 1 / math.sqrt(F), 1 / math.sqrt(H)
        self.weight1 = nn.Parameter(torch.empty(F, K * H).uniform_(-bound, bound))
        self.bias1 = nn.Parameter(torch.empty(K * H).uniform_(-bound, bound))
        self.weight2 = nn.Parameter(torch.empty(K, H).uniform_(-inner, inner))
        self.bias2 = nn.Parameter(torch.empty(K).uniform_(-inner, inner))

    def forward(self, f: Tensor) -> Tensor:
        if not isinstance(f, Tensor):
            raise TypeError(f"f must be a tensor, got {checks.shown(f)}")
        if f.ndim != 2 or f.shape[1] != self.weight1.shape[0]:
            raise ValueError(f"f must have shape (n, {self.weight1.shape[0]}), got {tuple(f.shape)}")
        inside = torch.relu(torch.addmm(self.bias1, f, self.weight1)).view(len(f), *self.weight2.shape)
        return (inside * self.weight2).sum(-1) + self.bias2


def backbone(name: str = "resnet101", bottleneck: int = 256, pretrained: bool = True) -> nn.Module:
    """An image backbone with the paper's bottleneck behind it (linear, batch normalization, ReLU), for images (n, 3, 224, 224).

    Parameters
    ----------
    name : {"resnet50", "resnet101"}
        Taken from torchvision, which is imported here only.
    bottleneck : int
        Number of features, 256 in the paper.
    pretrained : bool
        Start from ImageNet weights, as the paper does (torchvision downloads them).

    Raises
    ------
    ValueError
        For another name.
    ImportError
        Where torchvision is not installed.

    Examples
    --------
    >>> from lib.objectives.pareto_da.networks import backbone
    >>> net = backbone("resnet50", bottleneck=256)  # doctest: +SKIP
    """
    checks.choice("name", name, BACKBONES)
    width, start = checks.integer("bottleneck", bottleneck, low=1), checks.boolean("pretrained", pretrained)
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError(f"backbone {name!r} needs the package torchvision, which is not installed") from error
    net: Any = getattr(models, name)(weights="DEFAULT" if start else None)
    inner, net.fc = net.fc.in_features, nn.Identity()
    return nn.Sequential(net, nn.Linear(inner, width), nn.BatchNorm1d(width), nn.ReLU())
