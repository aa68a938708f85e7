"""The system of layouts: a smaller decoder of tiles, a student, two rewards that see whole scenes, a judge that sees tiles.

Images have shape (n, 3, 32, 32), noise has shape (n, 64): sixteen latent numbers for each of four places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.functional import normalize

from lib.objectives.reno.study.layouts import Domain, from_places, to_places
from lib.objectives.reno.study.networks import TILE_LATENT, Student, mlp
from lib.objectives.reno.study.scenes import COLORS

LAYOUT_LATENT = 4 * TILE_LATENT


class LayoutDecoder(nn.Module):
    """A scene from its standardized latent numbers; all four places share the weights."""

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(TILE_LATENT, 64), nn.SiLU(), nn.Linear(64, 512), nn.SiLU(), nn.Unflatten(1, (32, 4, 4)),
            nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.SiLU(), nn.ConvTranspose2d(16, 3, 4, 2, 1),
        )  # fmt: skip
        self.register_buffer("mean", torch.zeros(TILE_LATENT))
        self.register_buffer("scale", torch.ones(TILE_LATENT))

    def tiles(self, latent: torch.Tensor) -> torch.Tensor:
        """Logits of tiles, shape (m, 3, 16, 16), from raw latent numbers, shape (m, 16)."""
        return self.net(latent)

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        raw = latent.reshape(-1, TILE_LATENT) * self.scale + self.mean
        return from_places(self.tiles(raw).sigmoid())


class LayoutGenerator(nn.Module):
    """The one-step generator of layouts: noise and prompts to images. A deterministic map.

    Parameters
    ----------
    student : Student
    decoder : LayoutDecoder
    domain : Domain
    """

    noise_shape = (LAYOUT_LATENT,)
    dtype = torch.float64

    def __init__(self, student: Student, decoder: LayoutDecoder, domain: Domain) -> None:
        super().__init__()
        self.student, self.decoder, self.domain = student, decoder, domain

    def forward(self, noise: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.decoder(self.student(noise, self.domain.hazy(self.domain.code(prompts)).to(noise)))


class _Eyes(nn.Module):
    """Forty features of each place, with shared weights: (n, 3, 32, 32) to (n, 160)."""

    size = 160

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 12, 4, 2, 1), nn.SiLU(), nn.Conv2d(12, 24, 4, 2, 1), nn.SiLU(), nn.Flatten(), nn.Linear(384, 40),
        )  # fmt: skip

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(to_places(images)).reshape(-1, self.size)


class LayoutContrast(nn.Module):
    """How well a whole scene and a prompt agree: a scaled cosine of two codes, as in CLIP.

    Parameters
    ----------
    domain : Domain
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain, self.eyes = domain, _Eyes()
        self.image, self.text = mlp(_Eyes.size, 64, 48), mlp(domain.code_size, 64, 48)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def codes(self, images: torch.Tensor, text: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit codes of images, scaled, and of texts."""
        seen = self.image(nn.functional.silu(self.eyes(images)))
        return self.log_scale.exp() * normalize(seen, dim=1), normalize(self.text(text), dim=1)

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        seen, said = self.codes(images, self.domain.code(prompts).to(images))
        return (seen * said).sum(1)


class LayoutPreference(nn.Module):
    """A score of a whole scene for a prompt, trained on pairs of a better and a worse image (Bradley and Terry).

    Parameters
    ----------
    domain : Domain
    """

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain, self.eyes = domain, _Eyes()
        self.text, self.head = mlp(domain.code_size, 64, _Eyes.size), mlp(_Eyes.size, 64, 1)

    def score(self, images: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
        """Scores, shape (n,)."""
        return self.head(nn.functional.silu(self.eyes(images) * self.text(text)))[:, 0]

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        return self.score(images, self.domain.code(prompts).to(images))


class LayoutJudge(nn.Module):
    """Who decides right or wrong, place by place: a classifier of its own for things, and the nearest color. Never optimized.

    Parameters
    ----------
    domain : Domain
    """

    colors: torch.Tensor

    def __init__(self, domain: Domain) -> None:
        super().__init__()
        self.domain = domain
        self.net = nn.Sequential(
            nn.Conv2d(1, 12, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(384, 48), nn.ReLU(), nn.Linear(48, len(domain.nouns)),
        )  # fmt: skip
        colors = torch.tensor(list(COLORS.values()), dtype=torch.float64)
        self.register_buffer("colors", normalize(colors, dim=1), persistent=False)

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The thing and the color at each place, both of shape (n, 4)."""
        tiles = to_places(images)
        things = self.net(tiles.amax(1, keepdim=True)).argmax(1)
        hue = normalize(tiles.sum((2, 3)), dim=1)
        nearest = (hue[:, None] - self.colors.to(images)).square().sum(2).argmin(1)
        return things.reshape(-1, 4), nearest.reshape(-1, 4)

    def forward(self, images: torch.Tensor, prompts: Sequence[str]) -> dict[str, torch.Tensor]:
        """Verdicts 0 or 1, shape (n,): ``all`` as the prompt says, ``things`` whatever their colors.

        Placing: both things stand where they should. Counting: exactly as many places as said hold the thing.
        """
        things, colors = self.read(images)
        found: dict[str, list[float]] = {"things": [], "all": []}
        for prompt, seen, hue in zip(prompts, things.tolist(), colors.tolist(), strict=True):
            family, one, thing, color, other, second, shade = self.domain.understand(prompt)
            if family:
                same = [k == thing for k in seen]
                kinds = sum(same) == one + 1
                good = kinds and all(c == color for s, c in zip(same, hue, strict=True) if s)
            else:
                kinds = seen[one] == thing and seen[other] == second
                good = kinds and hue[one] == color and hue[other] == shade
            found["things"].append(float(kinds))
            found["all"].append(float(good))
        return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}
