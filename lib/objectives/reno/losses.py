"""The losses of the paper's reward models, by sample, and what their images go through first; rewards are negative losses.

The official code descends the weighted sum of these losses; climbing the weighted sum of their negatives is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from lib import checks
from lib.objectives.reno.norms import changes

#: Weights of the official code: HPSv2.1, ImageReward, CLIP ViT-H/14, PickScore; the aesthetic score is optional.
PAPER_WEIGHTS = {"hps": 5.0, "image_reward": 1.0, "clip": 0.01, "pickscore": 0.05, "aesthetic": 0.0}
#: Mean and deviation by which ImageReward-v1.0 standardizes its score.
IMAGE_REWARD_MEAN, IMAGE_REWARD_STD = 0.16717362830052426, 1.0333394966054072
#: Mean and deviation of the colors in CLIP's training images.
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def cosines(image_features: Tensor, text_features: Tensor) -> Tensor:
    """Cosine of each image's features with those of its own text, both of shape (n, k); shape (n,)."""
    pair = checks.tensor("image_features", image_features, ndim=2), checks.tensor("text_features", text_features, ndim=2)
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"image_features and text_features must have one shape, got {[tuple(p.shape) for p in pair]}")
    for name, features in zip(("image_features", "text_features"), pair, strict=True):
        if not features.detach().any(1).all():
            raise ValueError(f"{name} must not be zero throughout in a sample: they have no direction")
    image, text = (features / features.norm(dim=1, keepdim=True) for features in pair)
    return (image * text).sum(1)


def hps_loss(image_features: Tensor, text_features: Tensor) -> Tensor:
    """The loss of HPSv2.1 in each sample, ``1 - cos`` of image and text features (n, k); shape (n,), weight 5 in the paper."""
    return 1 - cosines(image_features, text_features)


def clip_loss(image_features: Tensor, text_features: Tensor, logit_scale: Any) -> Tensor:
    """The loss of CLIP ViT-H/14 in each sample, ``100 - exp(logit_scale) cos``; shape (n,), weight 0.01 in the paper.

    The model's ``logit_scale`` is the logarithm of about 100.
    """
    return 100 - _scale(logit_scale) * cosines(image_features, text_features)


def pickscore_loss(image_features: Tensor, text_features: Tensor, logit_scale: Any) -> Tensor:
    """The loss of PickScore in each sample, ``30 - exp(logit_scale) cos``; shape (n,), weight 0.05 in the paper."""
    return 30 - _scale(logit_scale) * cosines(image_features, text_features)


def _scale(logit_scale: Any) -> Tensor:
    if isinstance(logit_scale, Tensor):
        return checks.tensor("logit_scale", logit_scale).exp()
    return torch.as_tensor(checks.number("logit_scale", logit_scale)).exp()


def image_reward_loss(score: Tensor, mean: float = IMAGE_REWARD_MEAN, std: float = IMAGE_REWARD_STD) -> Tensor:
    """The loss of ImageReward in each sample, 2 less the standardized score of its last layer; shape (n,), weight 1."""
    return 2 - (checks.tensor("score", score, ndim=1) - checks.number("mean", mean)) / checks.positive("std", std)


def aesthetic_loss(score: Tensor) -> Tensor:
    """The loss of the aesthetic predictor in each sample, 10 less its score; shape (n,), weight 0: off in the paper."""
    return 10 - checks.tensor("score", score, ndim=1)


def preprocess(images: Tensor, size: int = 224) -> Tensor:
    """What reward models see: the shorter side resized to 224 pixels, the center of it, in CLIP's colors.

    Bicubic and smoothed against aliasing, the default of the torchvision that the official code pins (0.18) for its resizing.

    Parameters
    ----------
    images : Tensor, shape (n, 3, H, W)
        Entries in [0, 1].
    size : int

    Returns
    -------
    Tensor, shape (n, 3, size, size)
    """
    images, size = checks.tensor("images", images, ndim=4), checks.integer("size", size, low=1)
    if images.shape[1] != 3:
        raise ValueError(f"images must have 3 colors, shape (n, 3, H, W), got {tuple(images.shape)}")
    height, width = images.shape[2:]
    long = int(size * max(height, width) / min(height, width))
    shape = (size, long) if height <= width else (long, size)
    if (height, width) != shape:
        images = functional.interpolate(images, shape, mode="bicubic", antialias=True, align_corners=False)
    top, left = round((shape[0] - size) / 2), round((shape[1] - size) / 2)
    mean, std = (torch.tensor(c, dtype=images.dtype, device=images.device).view(1, 3, 1, 1) for c in (CLIP_MEAN, CLIP_STD))
    return (images[:, :, top : top + size, left : left + size] - mean) / std


class FeatureReward(nn.Module):
    """A reward of two encoders: the negative loss of image and text features; a text is encoded once, while the model stays.

    Parameters
    ----------
    image_features : callable
        ``image_features(pixels)`` -> (n, k), of preprocessed images.
    text_features : callable
        ``text_features(prompts)`` -> (n, k).
    loss : callable
        ``loss(image_features, text_features)`` -> (n,).
    model : Module, optional
        Whose methods these are, so that it is frozen and moved with the reward.
    """

    def __init__(
        self, image_features: Callable, text_features: Callable, loss: Callable, model: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.image_features = checks.function("image_features", image_features)
        self.text_features = checks.function("text_features", text_features)
        self.loss = checks.function("loss", loss)
        self.model = model
        self._known: tuple[Any, Tensor] | None = None

    def _apply(self, fn: Any, recurse: bool = True) -> FeatureReward:
        self._known = None  # features of another type or device
        return super()._apply(fn, recurse)

    def forward(self, images: Tensor, prompts: Any) -> Tensor:
        """The reward of each image, shape (n,)."""
        key = tuple(prompts), sum(map(changes, self.parameters()))  # a changed weight counts up
        if self._known is None or self._known[0] != key:
            with torch.no_grad():
                self._known = key, self.text_features(list(prompts))
        return -self.loss(self.image_features(preprocess(images)), self._known[1])
