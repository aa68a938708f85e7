"""What the chapter's experiments rest on: scenes and slices, the trained system, watched runs, what is read off them."""

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch

from lib.objectives import reno
from lib.objectives.reno import study
from lib.objectives.reno.study import make_weights, networks, scenes, training, weights

PROMPT = "a red 3 left of a blue 7"


@pytest.fixture(scope="module")
def system():
    return study.load_system()


@pytest.fixture(scope="module")
def many():
    return study.sample_prompts(200, seed=5)


# ------------------------------------------------------------------------------------------------------------- scenes


def test_slices_are_disjoint_and_within_the_training_part():
    ranges = sorted(study.SLICES.values())
    assert all(one[1] <= two[0] for one, two in pairwise(ranges))
    assert ranges[0][0] == 0
    assert ranges[-1][1] == 60_000


def test_each_part_is_trained_on_its_own_slice(monkeypatch):
    asked = []
    own = training.Painter

    def spy(who):
        asked.append(who)
        return own(who)

    monkeypatch.setattr(training, "Painter", spy)
    rng = np.random.default_rng(0)
    training.fit_judge(1, rng)
    training.fit_reward("clip A", 1, rng)
    training.fit_reward("preference B", 1, rng)
    encoder, decoder, _ = training.fit_decoder(1, rng, batch=4)
    training.fit_teacher(encoder, decoder, 1, rng, scenes=20, batch=4)
    assert asked == ["judge", "rewards", "rewards", "generator", "generator"]


def test_a_prompt_is_what_it_describes(many):
    assert study.understand(PROMPT) == (3, 0, 7, 2)
    assert [study.describe(study.understand(prompt)) for prompt in many] == many
    facts = np.array([study.understand(prompt) for prompt in many])
    assert (facts[:, 0] != facts[:, 2]).all()
    assert (facts[:, 1] != facts[:, 3]).all()
    assert len(set(map(tuple, facts))) > 100


@pytest.mark.parametrize(
    "bad", ["", "a red 3", "a pink 3 left of a blue 7", "a red 3 right of a blue 7", "a red 12 left of a blue 7", 3, None]
)
def test_what_is_no_prompt_is_refused(bad):
    with pytest.raises(ValueError, match="a prompt reads"):
        study.understand(bad)


def test_a_corrupted_prompt_has_one_fault(many):
    facts = np.array([study.understand(prompt) for prompt in many])
    wrong = scenes.corrupt(facts, np.random.default_rng(0))
    changed = (wrong != facts).sum(1)
    assert (changed >= 1).all()
    assert set(changed) == {1, 2}  # one word, or two that are swapped
    for before, after in zip(facts[changed == 2], wrong[changed == 2], strict=True):
        assert sorted(before) == sorted(after)


def test_codes_by_hand():
    full = scenes.code([PROMPT])[0]
    assert full.nonzero()[:, 0].tolist() == [3, 10, 13 + 7, 13 + 12]
    soft = scenes.hazy(full[None])[0]
    assert soft[[3, 7, 10, 12]].tolist() == [1, 1, 1, 1]
    assert soft[13:][[3, 7, 10, 12]].tolist() == pytest.approx([0.05, -0.05, 0.05, -0.05])


def test_tiles_and_scenes_are_inverse():
    images = torch.rand(5, 3, 16, 32)
    tiles = networks.to_tiles(images)
    assert torch.equal(tiles[2], images[1, :, :, :16])
    assert torch.equal(tiles[3], images[1, :, :, 16:])
    assert torch.equal(networks.to_scenes(tiles), images)


def test_real_scenes_have_the_colors_of_the_prompt():
    picture = study.real_scenes([PROMPT], seed=1)[0]
    left, right = picture[:, :, :16].sum((1, 2)), picture[:, :, 16:].sum((1, 2))
    assert torch.allclose(left / left.max(), torch.tensor([1, 0.1, 0.1]).double(), atol=1e-6)
    assert torch.allclose(right / right.max(), torch.tensor([0.2, 0.3, 1]).double(), atol=1e-6)
    assert picture.min() >= 0
    assert picture.max() <= 1


# ------------------------------------------------------------------------------------------------------------- system


def test_the_judge_passes_real_scenes_and_no_others(system, many):
    pictures = study.real_scenes(many, seed=3)
    assert study.verdicts(system, pictures, many)["all"].mean() >= 0.9
    assert study.verdicts(system, pictures, study.other_prompts(many))["all"].mean() <= 0.03


def test_every_reward_prefers_the_right_prompt(system, many):
    pictures = study.real_scenes(many, seed=4)
    facts = np.array([study.understand(prompt) for prompt in many])
    wrong = [study.describe(row) for row in scenes.corrupt(facts, np.random.default_rng(1))]
    right, other = study.scores(system, pictures, many), study.scores(system, pictures, wrong)
    for name in study.REWARDS:
        assert (right[name] > other[name]).mean() > 0.85, name


def test_the_sum_is_weighted(system, many):
    pictures = study.real_scenes(many[:4])
    told = study.scores(system, pictures, many[:4])
    by_hand = sum(weight * told[name] for name, (*_, weight) in study.REWARDS.items())
    assert told["total"] == pytest.approx(by_hand)


def test_the_generator_is_a_function_of_its_noise(system, many):
    noise = study.first_noise(3, seed=2)
    one, two = (system.generator(noise, many[:3]) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (3, 3, 16, 32)
    assert isinstance(system.generator, reno.OneStepGenerator)
    assert not any(p.requires_grad for p in system.generator.parameters())


def test_the_teacher_with_one_step_takes_the_middle_velocity(system):
    noise, text = study.first_noise(2), scenes.hazy(scenes.code([PROMPT] * 2))
    by_hand = noise + system.flow(noise, torch.tensor([[0.5]]).double(), text)
    assert torch.allclose(system.flow.solve(noise, text, 1), by_hand)


def test_a_changed_file_is_not_read(tmp_path):
    path = tmp_path / "reno.weights.npz"
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="SHA-256"):
        study.load_system(path)
    with pytest.raises(FileNotFoundError, match="make_weights"):
        study.load_system(tmp_path / "none.npz")


def test_the_file_says_where_it_comes_from(system):
    assert system.origin["command"].startswith("python -m lib.objectives.reno.study.make_weights")
    assert system.origin["cpu_seconds"] > 0
    assert set(system.losses) == {"decoder", "teacher", "student", "judge", *study.REWARDS}


def test_training_is_one_run_of_its_seed(monkeypatch, tmp_path):
    monkeypatch.setattr(make_weights, "Steps", lambda: study.Steps(1, 1, 1, 1, 1))
    monkeypatch.setattr(training.fit_teacher, "__defaults__", (20, 8))
    monkeypatch.setattr(training.fit_student, "__defaults__", (20, 8))
    stored = []
    for name, seed in (("a.npz", 3), ("b.npz", 3), ("c.npz", 4)):
        assert make_weights.main(["--seed", str(seed), "--out", str(tmp_path / name)]) == 0
        with np.load(tmp_path / name, allow_pickle=False) as arrays:
            stored.append({key: arrays[key] for key in arrays.files if "/" in key})
            assert json.loads(str(arrays["origin"]))["command"].endswith(f"--seed {seed}")
    assert all(np.array_equal(stored[0][key], stored[1][key]) for key in stored[0])
    assert any(not np.array_equal(stored[0][key], stored[2][key]) for key in stored[0])
    assert set(stored[0]) == {f"{name}/{key}" for name, part in weights.empty_parts().items() for key in part.state_dict()}


@pytest.mark.parametrize("bad", [["--share", "0"], ["--share", "2"], ["--seed", "-1"]])
def test_bad_options_stop_before_training(bad):
    with pytest.raises(SystemExit):
        make_weights.main(bad)


def test_steps_are_shortened():
    assert study.Steps(10, 20, 30, 40, 50).shortened(0.01) == study.Steps(1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match="share"):
        study.Steps().shortened(0)


# --------------------------------------------------------------------------------------------------------------- runs


def test_a_watched_run_is_the_run_that_is_not_watched(system, many):
    noise = study.first_noise(3)
    watched = study.climb(system, many[:3], noise, study.Plan(calls=4))
    plain = reno.NoiseOptimizer(system.generator, system.rewards, n_iter=4, lr=1.0).run(many[:3], noise)
    assert torch.equal(watched.result.noise, plain.noise)
    assert np.array_equal(watched.totals[-1], plain.rewards_best["total"].numpy())
    found = study.verdicts(system, plain.images, many[:3])
    assert all(np.array_equal(watched.last[name], found[name]) for name in study.VERDICTS)


def test_after_some_calls_a_run_is_the_shorter_run(system, many):
    noise = study.first_noise(4, seed=1)
    long = study.climb(system, many[:4], noise, study.Plan(calls=8, lr=5.0))
    brief = study.climb(system, many[:4], noise, study.Plan(calls=5, lr=5.0))
    assert np.array_equal(long.after(5), brief.last["all"])
    assert torch.equal(long.noise_after(5), brief.result.noise)
    assert torch.equal(long.noise_after(99), long.result.noise)
    assert (np.diff(long.totals, axis=0) >= 0).all()


def test_single_rewards_are_climbed_alone(system, many):
    run = study.climb(system, many[:2], study.first_noise(2), study.Plan(calls=2), rewards=["clip B"])
    assert set(run.result.rewards_best) == {"clip B", "total"}
    with pytest.raises(ValueError, match="rewards"):
        study.climb(system, many[:2], study.first_noise(2), study.Plan(calls=2), rewards=["clip C"])


def test_on_the_sphere_length_does_not_count(system, many):
    sphere, noise = study.OnSphere(system.generator), study.first_noise(2)
    assert torch.allclose(sphere(noise, many[:2]), sphere(3 * noise, many[:2]))
    assert torch.allclose(
        sphere(noise, many[:2]), system.generator(noise / noise.norm(dim=1, keepdim=True) * 31**0.5, many[:2])
    )


def test_pull_by_finite_differences(system):
    noise, step = study.first_noise(1, seed=7), 1e-5
    size, condition = study.pull(system, 3, [PROMPT], noise)
    text = scenes.hazy(scenes.code([PROMPT]))
    moves = torch.eye(32).double() * step

    def total(eps):
        pictures = system.generator.decoder(system.flow.solve(eps, text, 3))
        return study.scores(system, pictures.detach(), [PROMPT])["total"][0]

    slope = [(total(noise + move) - total(noise - move)) / (2 * step) for move in moves]
    assert size[0] == pytest.approx(np.linalg.norm(slope), rel=1e-5)
    ends = [(system.flow.solve(noise + m, text, 3) - system.flow.solve(noise - m, text, 3))[0] / (2 * step) for m in moves]
    assert condition[0] == pytest.approx(np.linalg.cond(torch.stack(ends, 1).numpy()), rel=1e-4)


def test_pull_without_steps_is_that_of_the_student(system, many):
    noise = study.first_noise(2).requires_grad_()
    by_hand = torch.autograd.grad(
        reno.RewardEnsemble(system.rewards)(system.generator(noise, many[:2]), many[:2])[1].sum(), noise
    )
    size, _ = study.pull(system, 0, many[:2], study.first_noise(2))
    assert size == pytest.approx(by_hand[0].norm(dim=1).numpy())


def test_agreement_and_spectrum_by_hand():
    same = torch.ones(5, 3)
    assert study.agreement(same).tolist() == pytest.approx([1.0] * 5)
    assert study.spectrum(same).tolist() == pytest.approx([3, 0, 0], abs=1e-12)
    assert study.agreement(torch.tensor([[1.0, 0], [0, 1], [0, 1]])).tolist() == pytest.approx([0, 0.5**0.5, 0.5**0.5])
    white = torch.as_tensor(np.random.default_rng(0).standard_normal((4000, 8)))
    assert study.spectrum(white) == pytest.approx(np.ones(8), abs=0.15)
    with pytest.raises(ValueError, match="two rows"):
        study.agreement(torch.ones(1, 3))
    with pytest.raises(ValueError, match="zero"):
        study.spectrum(torch.zeros(2, 3))


def test_the_landscape_holds_the_rewards_of_its_corners(system):
    corners = study.first_noise(3, seed=2)
    hills = study.landscape(system, PROMPT, corners, [0.0, 1.0])
    for (row, column), value in np.ndenumerate(hills):
        noise = corners[0] + column * corners[1] + row * corners[2]
        told = study.scores(system, system.generator(noise[None], [PROMPT]), [PROMPT])["total"][0]
        assert value == pytest.approx(told)


def test_other_prompts_say_something_else(many):
    others = study.other_prompts(many)
    assert all(one != two for one, two in zip(many, others, strict=True))
    with pytest.raises(ValueError, match="same"):
        study.other_prompts([PROMPT, PROMPT])


def test_the_method_does_not_load_the_study():
    program = "import sys, lib.objectives.reno; print(any('reno.study' in name for name in sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
