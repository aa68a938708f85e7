"""How the system of layouts is trained: each part on its own slice of the data, in single precision, from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn
from torch.nn.functional import (
    avg_pool2d,
    binary_cross_entropy_with_logits,
    cross_entropy,
    logsigmoid,
    mse_loss,
)

from lib import checks
from lib.objectives.reno.study.layout_networks import (
    LAYOUT_LATENT,
    LayoutContrast,
    LayoutDecoder,
    LayoutJudge,
    LayoutPreference,
)
from lib.objectives.reno.study.layouts import Domain, LayoutPainter, to_places
from lib.objectives.reno.study.networks import Encoder, Flow, Student
from lib.objectives.reno.study.training import _fit, _normal

#: Width of the student, which is stored; the teacher is not.
STUDENT_WIDTH = 160


@dataclass(frozen=True)
class LayoutSteps:
    """How many training steps each part gets: decoder, teacher, student, each reward, judge."""

    decoder: int = 2500
    teacher: int = 6000
    student: int = 6000
    reward: int = 3000
    judge: int = 2500

    def shortened(self, share: float) -> LayoutSteps:
        """A share of all steps, at least one of each."""
        share = checks.number("share", share, above=0, high=1)
        return replace(self, **{name: max(1, round(share * count)) for name, count in vars(self).items()})


def empty_layouts(domain: Domain) -> dict[str, nn.Module]:
    """Untrained parts by name, in the shapes of the file."""
    return {
        "decoder": LayoutDecoder(),
        "student": Student(LAYOUT_LATENT, domain.hazy_size, STUDENT_WIDTH),
        "contrast": LayoutContrast(domain),
        "preference": LayoutPreference(domain),
        "judge": LayoutJudge(domain),
    }


def _fit_tiles(
    decoder: LayoutDecoder, domain: Domain, steps: int, rng: np.random.Generator, batch: int
) -> tuple[Encoder, float]:
    """The variational autoencoder of tiles, as that of `lib.objectives.reno.study.training.fit_decoder`."""
    painter, encoder, kinds = LayoutPainter("generator", domain), Encoder(), len(domain.nouns)

    def loss() -> torch.Tensor:
        tiles = painter.tiles(rng.integers(kinds, size=batch), rng.integers(3, size=batch), rng)
        mean, log_variance = encoder(tiles)
        raw = mean + (log_variance / 2).exp() * _normal(rng, *mean.shape)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        fit = binary_cross_entropy_with_logits(decoder.tiles(raw), tiles, reduction="none").sum((1, 2, 3))
        return (fit + 0.1 * divergence).mean()

    return encoder, _fit([*encoder.parameters(), *decoder.parameters()], loss, steps, 3e-3)


def _fit_student(
    parts: tuple[Encoder, LayoutDecoder, Student], domain: Domain, steps: LayoutSteps, rng: np.random.Generator, scenes: int
) -> tuple[float, float]:
    """A teacher by flow matching on latent numbers of real scenes, and the student by what its steps make of noise."""
    encoder, decoder, student = parts
    facts = domain.draw(scenes, rng)
    text, painter = domain.hazy(domain.code_facts(facts)).float(), LayoutPainter("generator", domain)
    with torch.no_grad():
        mean = torch.cat(
            [encoder(to_places(painter.paint(part, rng)))[0] for part in np.array_split(facts, max(1, scenes // 500))]
        )
        decoder.mean.copy_(mean.mean(0))
        decoder.scale.copy_(mean.std(0))
    latent = ((mean - decoder.mean) / decoder.scale).reshape(scenes, LAYOUT_LATENT)
    teacher, batch = Flow(LAYOUT_LATENT, domain.hazy_size), min(256, scenes)

    def match() -> torch.Tensor:
        rows = torch.as_tensor(rng.integers(scenes, size=batch))
        noise, t = _normal(rng, batch, LAYOUT_LATENT), torch.as_tensor(rng.random((batch, 1), dtype=np.float32))
        end, said = latent[rows], text[rows] + 0.1 * _normal(rng, batch, text.shape[1])
        return mse_loss(teacher.net(torch.cat([(1 - t) * noise + t * end, t, said], dim=1)), end - noise)

    matching = _fit(teacher.parameters(), match, steps.teacher, 1.5e-3)
    noise = _normal(rng, scenes, LAYOUT_LATENT)
    with torch.no_grad():
        ends = teacher.solve(noise, text, 12)

    def distill() -> torch.Tensor:
        rows = torch.as_tensor(rng.integers(scenes, size=batch))
        return mse_loss(student(noise[rows], text[rows]), ends[rows])

    return matching, _fit(student.parameters(), distill, steps.student, 1.5e-3)


def _fit_reward(reward: nn.Module, domain: Domain, steps: int, rng: np.random.Generator, batch: int) -> float:
    """One reward, with prompts or images that have one fault each as hard negatives, and noise on images."""
    painter = LayoutPainter("rewards", domain)

    def noisy(images: torch.Tensor) -> torch.Tensor:
        return images + 0.08 * _normal(rng, *images.shape)

    def contrast() -> torch.Tensor:
        facts = domain.draw(batch, rng)
        text, wrong = domain.code_facts(facts).float(), domain.code_facts(domain.corrupt(facts, rng)).float()
        seen, said = reward.codes(noisy(painter.paint(facts, rng)), torch.cat([text, wrong]))  # type: ignore[operator]
        own = torch.arange(batch)
        others = torch.zeros(batch, 2 * batch)
        others[:, batch:] = -torch.inf  # of the wrong texts, each image sees its own
        others[own, batch + own] = 0
        logits = seen @ said.T
        return cross_entropy(logits + others, own) + cross_entropy(logits[:, :batch].T, own)

    def prefer() -> torch.Tensor:
        facts = domain.draw(batch, rng)
        good, bad = painter.paint(facts, rng), painter.paint(domain.corrupt(facts, rng), rng)
        blurred = torch.as_tensor(rng.random(batch) < 0.3)
        bad[blurred] = avg_pool2d(good[blurred], 5, 1, 2)
        text = domain.code_facts(facts).float()
        return -logsigmoid(reward.score(noisy(good), text) - reward.score(noisy(bad), text)).mean()  # type: ignore[operator]

    return _fit(reward.parameters(), contrast if isinstance(reward, LayoutContrast) else prefer, steps, 2e-3)


def _fit_judge(judge: LayoutJudge, domain: Domain, steps: int, rng: np.random.Generator, batch: int) -> float:
    """The judge's classifier, on real tiles of its own slice, moved by up to one pixel."""
    painter, kinds = LayoutPainter("judge", domain), len(domain.nouns)

    def loss() -> torch.Tensor:
        things = rng.integers(kinds, size=batch)
        tiles = painter.tiles(things, rng.integers(3, size=batch), rng).amax(1, keepdim=True)
        down, right = (int(v) for v in rng.integers(-1, 2, size=2))
        moved = tiles.roll((down, right), dims=(2, 3)) * (0.8 + 0.2 * float(rng.random()))
        return cross_entropy(judge.net(moved), torch.as_tensor(things))

    return _fit(judge.parameters(), loss, steps, 4e-3)


def train_layouts(
    domain: Domain, steps: LayoutSteps, seed: int, scenes: int = 20_000, batch: int = 128
) -> tuple[dict[str, nn.Module], dict[str, float]]:
    """All parts of the system of layouts by name, and their last losses.

    With the losses stands ``real``, the share that the judge passes of 1000 real scenes that no part has seen.

    Parameters
    ----------
    domain : Domain
    steps : LayoutSteps
    seed : int
        Of all draws, and of torch's initial weights.
    scenes : int
        For teacher and student.
    batch : int
        Of tiles or scenes for decoder, rewards and judge.
    """
    seed = checks.integer("seed", seed, low=0)
    streams = iter(np.random.default_rng(seed).spawn(16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = empty_layouts(domain)
        decoder, student, judge = parts["decoder"], parts["student"], parts["judge"]
        losses: dict[str, float] = {}
        encoder, losses["decoder"] = _fit_tiles(decoder, domain, steps.decoder, next(streams), batch)  # type: ignore[arg-type]
        made = (encoder, decoder, student)
        losses["teacher"], losses["student"] = _fit_student(made, domain, steps, next(streams), scenes)  # type: ignore[arg-type]
        losses["judge"] = _fit_judge(judge, domain, steps.judge, next(streams), batch)  # type: ignore[arg-type]
        for name in ("contrast", "preference"):
            losses[name] = _fit_reward(parts[name], domain, steps.reward, next(streams), batch)
    rng = next(streams)
    facts = domain.draw(min(1000, scenes), rng)
    found = judge(LayoutPainter("test", domain).paint(facts, rng), [domain.describe(row) for row in facts])
    return parts, losses | {"real": float(found["all"].mean())}
