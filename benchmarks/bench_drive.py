"""DRIVE: running a program in each sandbox, checking with and without the cache, a step of GRPO, and how it grows."""

from __future__ import annotations

import pytest
import torch

from lib.networks import generate
from lib.policies import drive
from lib.policies.drive import language, study

torch.set_num_threads(1)
SLUG = "drive"
HARD = drive.Problem(("even", "square", "sum", "minus", "pos", "double", "largest"))


def in_python(source, inputs):
    return [eval(source, {"x": list(x)}) for x in inputs]


@pytest.mark.parametrize("peer", [None, "a process for each program", "eval of Python, unsafe"])
def test_program(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="one program on ten lists", peer=peer)
    if peer is None:
        benchmark(drive.run_sandboxed, HARD.source, language.TESTS)
    elif peer.startswith("a process"):
        benchmark.pedantic(drive.run_sandboxed, (HARD.source, language.TESTS), {"how": "process"}, rounds=5)
    else:
        benchmark(in_python, HARD.source, language.TESTS)


@pytest.mark.parametrize("peer", [None, "without the cache"])
def test_checks(benchmark, peer):
    """Samples of a trained policy, all seen before where they are cached."""
    benchmark.extra_info.update(slug=SLUG, work="checks of 512 sampled programs", peer=peer)
    policy, pool = study.load_policy("stage 1")[0], study.problems().pool(32)
    task = drive.ProgramTask(pool, cache=peer is None)
    drawn = generate(policy, [p.prompt for p in pool for _ in range(16)], 44, end=task.end, pad=task.pad, seed=0)
    rows = [row[:n] for row, n in zip(drawn.responses.tolist(), drawn.lengths.tolist(), strict=True)]
    benchmark.pedantic(lambda: [task.check(pool[i // 16], row) for i, row in enumerate(rows)], rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("peer", [None, "8 prompts with 16 rollouts", "2 prompts with 64 rollouts"])
def test_step(benchmark, peer):
    benchmark.extra_info.update(slug=SLUG, work="a step of 128 programs, 16 prompts with 8 rollouts", peer=peer)
    prompts, rollouts = (16, 8) if peer is None else (int(peer.split()[0]), int(peer.split()[3]))
    pool = study.problems().pool(64)
    trainer = drive.Trainer(
        study.load_policy("stage 1")[0],
        drive.ProgramTask(pool),
        drive.Uniform(pool),
        drive.GRPOConfig(prompts, rollouts),
        seed=0,
    )
    benchmark.pedantic(trainer.step, rounds=5, warmup_rounds=1)


@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_growth(benchmark, size):
    benchmark.extra_info.update(slug=SLUG, work="a step of 4 prompts by rollouts of each", size=size)
    pool = study.problems().pool(64)
    trainer = drive.Trainer(
        study.load_policy("stage 1")[0], drive.ProgramTask(pool), drive.Uniform(pool), drive.GRPOConfig(4, size), seed=0
    )
    benchmark.pedantic(trainer.step, rounds=5, warmup_rounds=1)
