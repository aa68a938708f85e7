"""The small text-to-image system: decoder of tiles, teacher flow, one-step student, four rewards and an independent judge.

Everything is an ordinary `torch.nn.Module`; images have shape (n, 3, 16, 32) and values in [0, 1], prompts are strings, and
noise has shape (n, 32): sixteen latent numbers for each of both tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import normalize

from lib import checks
from lib.objectives.reno.study.scenes import COLORS, SIDE, WORDS, code, hazy

#: Latent numbers of a tile and of a scene.
TILE_LATENT = 16
LATENT = 2 * TILE_LATENT
_TEXT = 2 * WORDS


def mlp(*widths: int, between: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """Linear layers with SiLU between them, or what is given."""
    layers: list[nn.Module] = []
    for k, (before, after) in enumerate(pairwise(widths)):
        layers += [nn.Linear(before, after)] + ([between()] if k < len(widths) - 2 else [])
    return nn.Sequential(*layers)


def to_tiles(images: torch.Tensor) -> torch.Tensor:
    """Both tiles of each scene, one below the other: (n, 3, 16, 32) to (2n, 3, 16, 16)."""
    n = len(images)
    return images.reshape(n, 3, SIDE, 2, SIDE).permute(0, 3, 1, 2, 4).reshape(2 * n, 3, SIDE, SIDE)


def to_scenes(tiles: torch.Tensor) -> torch.Tensor:
    """Scenes of their tiles, (2n, 3, 16, 16) to (n, 3, 16, 32): the inverse of `to_tiles`."""
    n = len(tiles) // 2
    return tiles.reshape(n, 2, 3, SIDE, SIDE).permute(0, 2, 3, 1, 4).reshape(n, 3, SIDE, 2 * SIDE)


class Encoder(nn.Module):
    """Mean and log variance of a tile's latent numbers; used in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 4, 2, 1), nn.SiLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.SiLU(), nn.Flatten(),
            nn.Linear(512, 128), nn.SiLU(), nn.Linear(128, 2 * TILE_LATENT),
        )  # fmt: skip

    def forward(self, tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_variance = self.net(tiles).chunk(2, dim=1)
        return mean, log_variance.clamp(-8, 4)


class Decoder(nn.Module):
    """A scene from its standardized latent numbers; both tiles share the weights."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp(TILE_LATENT, 128, 192, 3 * SIDE * SIDE, between=nn.ReLU)
        self.register_buffer("mean", torch.zeros(TILE_LATENT))
        self.register_buffer("scale", torch.ones(TILE_LATENT))

    def tiles(self, latent: torch.Tensor) -> torch.Tensor:
        """Logits of tiles, shape (m, 3, 16, 16), from raw latent numbers, shape (m, 16)."""
        return self.net(latent).reshape(-1, 3, SIDE, SIDE)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        raw = latent.reshape(-1, TILE_LATENT) * self.scale + self.mean
        return to_scenes(self.tiles(raw).sigmoid())


class Flow(nn.Module):
    """The teacher: velocity of a flow from noise (t = 0) to standardized latent numbers (t = 1), given a prompt's hazy code."""

    def __init__(self, latent: int = LATENT, text: int = _TEXT) -> None:
        super().__init__()
        self.net = mlp(latent + 1 + text, 256, 256, 256, latent)

    def forward(self, z: torch.Tensor, t: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return self.net(torch.cat([z, t.expand(len(z), 1), text], dim=1))

    def solve(self, noise: torch.Tensor, text: torch.Tensor, steps: int) -> torch.Tensor:
        """Latent numbers after `steps` steps; each takes the velocity at its middle time."""
        z = noise
        for k in range(steps):
            z = z + self(z, z.new_tensor([[(k + 0.5) / steps]]), text) / steps
        return z


class Student(nn.Module):
    """One step from noise to latent numbers, distilled from the teacher."""

    def __init__(self, latent: int = LATENT, text: int = _TEXT, width: int = 256) -> None:
        super().__init__()
        self.net = mlp(latent + text, width, width, width, latent)

    def forward(self, noise: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        return noise + self.net(torch.cat([noise, text], dim=1))


class DigitGenerator(nn.Module):
    """The one-step generator: noise and prompts to images. A deterministic map.

    Parameters
    ----------
    student : Student
    decoder : Decoder
    """

    noise_shape = (LATENT,)
    dtype = torch.float64

    def __init__(self, student: Student, decoder: Decoder) -> None:
        super().__init__()
        self.student, self.decoder = student, decoder

    def forward(self, noise: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.decoder(self.student(noise, hazy(code(prompts)).to(noise)))


class TeacherGenerator(nn.Module):
    """The teacher as a generator with several steps.

    Parameters
    ----------
    flow : Flow
    decoder : Decoder
    steps : int
    """

    noise_shape = (LATENT,)
    dtype = torch.float64

    def __init__(self, flow: Flow, decoder: Decoder, steps: int = 16) -> None:
        super().__init__()
        self.flow, self.decoder, self.steps = flow, decoder, checks.integer("steps", steps, low=1)

    def forward(self, noise: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.decoder(self.flow.solve(noise, hazy(code(prompts)).to(noise), self.steps))


def _eyes(width: int) -> nn.Sequential:
    """Scene to 16 * width features."""
    return nn.Sequential(nn.Conv2d(3, width, 4, 2, 1), nn.SiLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.SiLU(), nn.Flatten())


class ContrastiveReward(nn.Module):
    """How well image and prompt agree: a scaled cosine of two codes, as in CLIP.

    Parameters
    ----------
    width : int
        Channels of the first layer.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.image = nn.Sequential(_eyes(width), nn.Linear(64 * width, 64), nn.SiLU(), nn.Linear(64, 48))
        self.text = mlp(_TEXT, 64, 48)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def codes(self, images: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit codes of images, scaled, and of texts."""
        return self.log_scale.exp() * normalize(self.image(images), dim=1), normalize(self.text(text), dim=1)

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        seen, said = self.codes(images, code(prompts).to(images))
        return (seen * said).sum(1)


class PreferenceReward(nn.Module):
    """A score of an image for a prompt, trained on pairs of a better and a worse image (Bradley and Terry).

    Parameters
    ----------
    width : int
        Channels of the first layer.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.image = nn.Sequential(_eyes(width), nn.Linear(64 * width, 64), nn.SiLU())
        self.text = mlp(_TEXT, 64)
        self.head = mlp(128, 64, 1)

    def score(self, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Scores, shape (n,)."""
        seen, said = self.image(images), self.text(text)
        return self.head(torch.cat([seen * said, seen], dim=1))[:, 0]

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.score(images, code(prompts).to(images))


class Judge(nn.Module):
    """Who decides right or wrong: a digit classifier of its own for each tile, and the nearest color. Never optimized.

    Its classifier has another architecture than the rewards, and was trained on another slice of MNIST.
    """

    colors: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        colors = torch.tensor(list(COLORS.values()), dtype=torch.float64)
        self.register_buffer("colors", normalize(colors, dim=1), persistent=False)

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities of digits, shape (n, 2, 10), and the places of the nearest colors, shape (n, 2)."""
        tiles = to_tiles(images)
        digits = self.net(tiles.amax(1, keepdim=True)).softmax(1)
        hue = normalize(tiles.sum((2, 3)), dim=1)
        nearest = (hue[:, None] - self.colors.to(images)).square().sum(2).argmin(1)
        return digits.reshape(-1, 2, 10), nearest.reshape(-1, 2)

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Verdicts 0 or 1, shape (n,): ``digits`` (both right), ``colors`` (both), ``all``; and ``sure``, a probability."""
        digits, colors = self.read(images)
        wanted = code(prompts).reshape(-1, 2, WORDS)
        number, hue = wanted[..., :10].argmax(2), wanted[..., 10:].argmax(2)
        right, painted = (digits.argmax(2) == number).all(1), (colors == hue).all(1)
        sure = digits.gather(2, number[..., None])[..., 0].prod(1)
        return {"digits": right.double(), "colors": painted.double(), "all": (right & painted).double(), "sure": sure}
