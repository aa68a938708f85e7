"""How the small system is trained: each part on its own slice of MNIST, in single precision, from one seed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, cross_entropy, logsigmoid, mse_loss

from lib import checks
from lib.objectives.reno.study.networks import (
    LATENT,
    ContrastiveReward,
    Decoder,
    Encoder,
    Flow,
    Judge,
    PreferenceReward,
    Student,
    to_tiles,
)
from lib.objectives.reno.study.scenes import Painter, code_facts, corrupt, draw_facts, hazy

#: Reward -> class, width, weight in the sum. Two of a kind differ in width and in everything random.
REWARDS: dict[str, tuple[type[ContrastiveReward | PreferenceReward], int, float]] = {
    "clip A": (ContrastiveReward, 16, 0.5),
    "clip B": (ContrastiveReward, 12, 0.5),
    "preference A": (PreferenceReward, 16, 1.0),
    "preference B": (PreferenceReward, 12, 1.0),
}


@dataclass(frozen=True)
class Steps:
    """How many training steps each part gets: decoder, teacher, student, each reward, judge."""

    decoder: int = 2500
    teacher: int = 5000
    student: int = 3500
    reward: int = 700
    judge: int = 2000

    def shortened(self, share: float) -> Steps:
        """A share of all steps, at least one of each."""
        share = checks.number("share", share, above=0, high=1)
        return replace(self, **{name: max(1, round(share * count)) for name, count in vars(self).items()})


def _fit(parameters: Iterable[nn.Parameter], loss: Callable[[], torch.Tensor], steps: int, lr: float) -> float:
    """Adam with a rate that falls linearly to zero; the mean loss of the last tenth."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return float(np.mean(losses[-max(1, steps // 10) :]))


def _normal(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.as_tensor(rng.standard_normal(shape, dtype=np.float32))


def fit_decoder(steps: int, rng: np.random.Generator, batch: int = 64) -> tuple[Encoder, Decoder, float]:
    """The variational autoencoder of tiles: binary cross-entropy plus a tenth of the divergence from a standard normal."""
    painter, encoder, decoder = Painter("generator"), Encoder(), Decoder()

    def loss() -> torch.Tensor:
        tiles = to_tiles(painter.draw(batch, rng)[1])
        mean, log_variance = encoder(tiles)
        raw = mean + (log_variance / 2).exp() * _normal(rng, *mean.shape)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        fit = binary_cross_entropy_with_logits(decoder.tiles(raw), tiles, reduction="none").sum((1, 2, 3))
        return (fit + 0.1 * divergence).mean()

    error = _fit([*encoder.parameters(), *decoder.parameters()], loss, steps, 3e-3)
    with torch.no_grad():
        mean = encoder(to_tiles(painter.draw(2000, rng)[1]))[0]
        decoder.mean.copy_(mean.mean(0))
        decoder.scale.copy_(mean.std(0))
    return encoder, decoder, error


def fit_teacher(
    encoder: Encoder, decoder: Decoder, steps: int, rng: np.random.Generator, scenes: int = 20_000, batch: int = 256
) -> tuple[Flow, float]:
    """Flow matching on straight lines from noise to latent numbers; the hazy code of the prompt gets noise of its own."""
    facts, images = Painter("generator").draw(scenes, rng)
    with torch.no_grad():
        mean = torch.cat([encoder(to_tiles(part))[0] for part in images.split(1000)])
        latent = ((mean - decoder.mean) / decoder.scale).reshape(scenes, LATENT)
    text, flow = hazy(code_facts(facts)).float(), Flow()

    def loss() -> torch.Tensor:
        rows = torch.as_tensor(rng.integers(scenes, size=batch))
        noise, t = _normal(rng, batch, LATENT), torch.as_tensor(rng.random((batch, 1), dtype=np.float32))
        end, said = latent[rows], text[rows] + 0.1 * _normal(rng, batch, text.shape[1])
        z = (1 - t) * noise + t * end
        return mse_loss(flow.net(torch.cat([z, t, said], dim=1)), end - noise)

    return flow, _fit(flow.parameters(), loss, steps, 1.5e-3)


def fit_student(
    flow: Flow, steps: int, rng: np.random.Generator, pairs: int = 20_000, batch: int = 256
) -> tuple[Student, float]:
    """Regression on what twelve steps of the teacher make of a noise."""
    text, noise, student = hazy(code_facts(draw_facts(pairs, rng))).float(), _normal(rng, pairs, LATENT), Student()
    with torch.no_grad():
        ends = flow.solve(noise, text, 12)

    def loss() -> torch.Tensor:
        rows = torch.as_tensor(rng.integers(pairs, size=batch))
        return mse_loss(student(noise[rows], text[rows]), ends[rows])

    return student, _fit(student.parameters(), loss, steps, 1.5e-3)


def fit_reward(name: str, steps: int, rng: np.random.Generator, batch: int = 96) -> tuple[nn.Module, float]:
    """One of `REWARDS`, with prompts and images that have one fault each as hard negatives, and noise on images."""
    kind, width, _ = REWARDS[name]
    painter, reward = Painter("rewards"), kind(width)

    def noisy(images: torch.Tensor) -> torch.Tensor:
        return images + 0.08 * _normal(rng, *images.shape)

    def contrast() -> torch.Tensor:
        facts, images = painter.draw(batch, rng)
        text, wrong = code_facts(facts).float(), code_facts(corrupt(facts, rng)).float()
        seen, said = reward.codes(noisy(images), torch.cat([text, wrong]))  # type: ignore[operator]
        logits, own = seen @ said.T, torch.arange(batch)
        others = torch.zeros(batch, 2 * batch)
        others[:, batch:] = -torch.inf  # of the wrong texts, each image sees its own
        others[own, batch + own] = 0
        same = torch.as_tensor((facts[:, None] == facts[None]).all(2)) & ~torch.eye(batch, dtype=torch.bool)
        others[:, :batch][same] = -torch.inf  # the same prompt twice is no negative
        return cross_entropy(logits + others, own) + cross_entropy(logits[:, :batch].T, own)

    def prefer() -> torch.Tensor:
        facts, good = painter.draw(batch, rng)
        bad = painter.paint(corrupt(facts, rng), rng)
        blurred = torch.as_tensor(rng.random(batch) < 0.3)
        bad[blurred] = avg_pool2d(good[blurred], 5, 1, 2)
        text = code_facts(facts).float()
        return -logsigmoid(reward.score(noisy(good), text) - reward.score(noisy(bad), text)).mean()  # type: ignore[operator]

    return reward, _fit(reward.parameters(), contrast if kind is ContrastiveReward else prefer, steps, 2e-3)


def fit_judge(steps: int, rng: np.random.Generator, batch: int = 64) -> tuple[Judge, float]:
    """The judge's digit classifier, on real tiles of its own slice, moved by up to one pixel."""
    painter, judge = Painter("judge"), Judge()

    def loss() -> torch.Tensor:
        facts, images = painter.draw(batch, rng)
        tiles = to_tiles(images).amax(1, keepdim=True)
        down, right = (int(v) for v in rng.integers(-1, 2, size=2))
        moved = tiles.roll((down, right), dims=(2, 3)) * (0.8 + 0.2 * float(rng.random()))
        return cross_entropy(judge.net(moved), torch.as_tensor(facts[:, [0, 2]].reshape(-1)).long())

    return judge, _fit(judge.parameters(), loss, steps, 5e-3)


def train_parts(steps: Steps, seed: int) -> tuple[dict[str, nn.Module], dict[str, float]]:
    """All parts of the system by name, and their last losses.

    Parameters
    ----------
    steps : Steps
    seed : int
        Of all draws, and of torch's initial weights.
    """
    seed = checks.integer("seed", seed, low=0)
    streams = iter(np.random.default_rng(seed).spawn(16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder, fit = fit_decoder(steps.decoder, next(streams))
        teacher, matching = fit_teacher(encoder, decoder, steps.teacher, next(streams))
        student, distance = fit_student(teacher, steps.student, next(streams))
        judge, doubt = fit_judge(steps.judge, next(streams))
        parts: dict[str, nn.Module] = {"decoder": decoder, "teacher": teacher, "student": student, "judge": judge}
        losses = {"decoder": fit, "teacher": matching, "student": distance, "judge": doubt}
        for name in REWARDS:
            parts[name], losses[name] = fit_reward(name, steps.reward, next(streams))
    return parts, losses
