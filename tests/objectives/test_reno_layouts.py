"""Layouts: prompts and codes, real scenes, the judge by place, the shipped system, and its training."""

import json

import numpy as np
import pytest
import torch

from lib.objectives import reno
from lib.objectives.reno import study
from lib.objectives.reno.study import layout_training, layouts, make_weights, weights

CLOTHES, DIGITS = study.DOMAINS["fashion_mnist"], study.DOMAINS["mnist"]
PLACED, COUNTED = "a red bag top left and a blue boot bottom right", "three green dresses"


@pytest.fixture(scope="module")
def system():
    return study.load_layouts()


@pytest.fixture(params=[CLOTHES, DIGITS], ids=["clothes", "digits"])
def domain(request):
    return request.param


def painted(domain, scenes, seed=0):
    """Scenes without any data: each thing is a pattern of its own, in its color."""
    patterns = np.random.default_rng(7).random((len(domain.nouns), 16, 16)) > 0.5
    rgb = np.array(list(study.COLORS.values()))
    tiles = patterns[scenes[..., 0]][:, :, None] * rgb[scenes[..., 1]][..., None, None]
    return layouts.from_places(torch.as_tensor(tiles.reshape(-1, 3, 16, 16))), torch.as_tensor(patterns)


def reading(domain, patterns):
    """A judge that knows the patterns instead of a trained network."""
    from lib.objectives.reno.study.layout_networks import LayoutJudge

    class Known(torch.nn.Module):
        def forward(self, gray):
            return (gray.flatten(1) > 0).double() @ (2.0 * patterns.flatten(1).double() - 1).T

    judge = LayoutJudge(domain)
    judge.net = Known()
    return judge


# ------------------------------------------------------------------------------------------------------------ prompts


def test_a_prompt_is_what_it_describes(domain):
    for family in study.FAMILIES:
        prompts = study.sample_layouts(200, family, seed=3, domain=domain)
        facts = np.array([domain.understand(prompt) for prompt in prompts])
        assert [domain.describe(row) for row in facts] == prompts
        assert (facts[:, 0] == study.FAMILIES.index(family)).all()
        assert len(set(prompts)) > 50
        if family == "placing":
            assert all((facts[:, k] != facts[:, k + 3]).all() for k in (1, 2, 3))
        else:
            assert set(facts[:, 1]) == {1, 2, 3}  # two to four


def test_prompts_by_hand():
    assert CLOTHES.understand(PLACED) == (0, 0, 6, 0, 3, 7, 2)
    assert CLOTHES.understand(COUNTED) == (1, 2, 3, 1, 0, 0, 0)
    assert DIGITS.understand("a red 3 top left and a blue 7 bottom right") == (0, 0, 3, 0, 3, 7, 2)
    assert DIGITS.understand("two blue 9s") == (1, 1, 9, 2, 0, 0, 0)


@pytest.mark.parametrize(
    "bad",
    ["", None, 3, "three red", "five red bags", "three red bag", "one red bags", "two red coats", PLACED + " now",
     "a red bag top left and a blue boot top left", "a red bag up left and a blue boot bottom right"],
)  # fmt: skip
def test_what_is_no_prompt_is_refused(bad):
    with pytest.raises(ValueError, match="a prompt reads"):
        CLOTHES.understand(bad)
    with pytest.raises(ValueError, match="family"):
        study.sample_layouts(1, "guessing")


def test_a_corrupted_prompt_is_another_prompt_with_one_fault(domain):
    rng = np.random.default_rng(0)
    facts = domain.draw(2000, rng)
    wrong = domain.corrupt(facts, rng)
    changed = (wrong != facts).sum(1)
    assert set(changed) == {1, 2}
    assert (changed[facts[:, 0] == 1] == 1).all()
    assert (facts[:, 0] == wrong[:, 0]).all()
    swapped = changed == 2
    assert (np.sort(facts[swapped], 1) == np.sort(wrong[swapped], 1)).all()
    columns = {int(k) for row, other in zip(facts, wrong, strict=True) for k in np.flatnonzero(row != other)}
    assert columns == {1, 2, 3, 4, 5, 6}
    placed = wrong[:, 0] == 0
    assert (wrong[placed, 1] != wrong[placed, 4]).all()


def test_codes_by_hand():
    w = CLOTHES.words
    full = CLOTHES.code([PLACED, COUNTED])
    assert full.shape == (2, CLOTHES.code_size)
    assert full[0].nonzero()[:, 0].tolist() == [6, 8, 3 * w + 7, 3 * w + 8 + 2]
    assert full[1].nonzero()[:, 0].tolist() == [4 * w + 2, 4 * w + 4 + 3, 4 * w + 4 + 8 + 1]
    soft = CLOTHES.hazy(full)
    assert soft.shape == (2, CLOTHES.hazy_size)
    assert soft[0, :w].nonzero()[:, 0].tolist() == [6, 7, 8, 10]
    assert soft[0, w : w + 5].tolist() == [1, 0, 0, 1, 0]
    assert soft[1, w : w + 5].tolist() == [0, 0, 0, 0, 1]
    assert soft[0, w + 5 :].max().item() == pytest.approx(0.05)
    assert soft[1, w + 5 :].nonzero()[:, 0].tolist() == [4 * w + 2]
    assert soft[1].min() == 0
    assert soft[1, w + 5 + 4 * w + 2].item() == pytest.approx(0.1)


def test_no_two_prompts_share_a_code(domain):
    facts = domain.draw(3000, np.random.default_rng(1))
    later = (facts[:, 0] == 0) & (facts[:, 1] > facts[:, 4])  # the same two things in the other order say the same
    facts[later] = facts[later][:, [0, 4, 5, 6, 1, 2, 3]]
    facts = np.unique(facts, axis=0)
    full = domain.code_facts(facts)
    assert len(torch.unique(full, dim=0)) == len(facts)
    assert len(torch.unique(domain.hazy(full), dim=0)) == len(facts)


# ------------------------------------------------------------------------------------------------- scenes and the judge


def test_tiles_are_in_the_order_of_the_places():
    images = torch.rand(3, 3, 32, 32)
    tiles = layouts.to_places(images)
    assert tiles[4].equal(images[1, :, :16, :16])
    assert tiles[5].equal(images[1, :, :16, 16:])
    assert tiles[6].equal(images[1, :, 16:, :16])
    assert tiles[7].equal(images[1, :, 16:, 16:])
    assert layouts.from_places(tiles).equal(images)


def test_what_stands_where(domain):
    rng = np.random.default_rng(2)
    facts = domain.draw(500, rng)
    scenes = layouts.fill(facts, domain, rng)
    for row, scene in zip(facts.tolist(), scenes, strict=True):
        if row[0] == 0:
            assert scene[row[1]].tolist() == row[2:4]
            assert scene[row[4]].tolist() == row[5:7]
            assert np.isin(scene[:, 0], [row[2], row[5]]).sum() == 2
        else:
            assert (scene[:, 0] == row[2]).sum() == row[1] + 1
            assert (scene[scene[:, 0] == row[2], 1] == row[3]).all()


def test_the_judge_reads_by_place(domain):
    rng = np.random.default_rng(3)
    facts = domain.draw(300, rng)
    images, patterns = painted(domain, layouts.fill(facts, domain, rng))
    judge = reading(domain, patterns)
    prompts = [domain.describe(row) for row in facts]
    assert judge(images, prompts)["all"].all()
    wrong = [domain.describe(row) for row in domain.corrupt(facts, rng)]
    assert not judge(images, wrong)["all"].any()


def test_verdicts_by_hand():
    scene = np.array([[[6, 0], [6, 0], [6, 2], [7, 2]]])  # two red bags above, a blue bag and a blue boot below
    images, patterns = painted(CLOTHES, scene)
    judge = reading(CLOTHES, patterns)
    told = {
        PLACED: (1, 1),
        "a red bag top right and a blue boot bottom right": (1, 1),
        "a green bag top left and a blue boot bottom right": (1, 0),
        "a blue boot top left and a red bag bottom right": (0, 0),
        "three red bags": (1, 0),  # three, but not all red
        "two red bags": (0, 0),  # one too many
        "one blue boot": (1, 1),
    }
    found = judge(images.repeat(len(told), 1, 1, 1), list(told))
    assert list(zip(found["things"].tolist(), found["all"].tolist(), strict=True)) == list(told.values())


# ----------------------------------------------------------------------------------------------------- the shipped system


def test_both_files_together_are_small():
    from lib import papers

    assert sum((papers.root() / "results" / name).stat().st_size for name in (weights.NAME, weights.LAYOUTS_NAME)) < 2_000_000


def test_the_system_is_deterministic_and_frozen(system):
    prompts, noise = [PLACED, COUNTED], study.first_noise(2, size=64)
    one, two = (system.generator(noise, prompts) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (2, 3, 32, 32)
    assert 0 <= one.min() < one.max() <= 1
    assert isinstance(system.generator, reno.OneStepGenerator)
    assert not any(p.requires_grad for p in system.generator.parameters())
    assert system.origin["command"].endswith("--layouts fashion_mnist")
    assert system.losses["real"] > 0.8
    assert system.domain is CLOTHES


@pytest.mark.parametrize("family", study.FAMILIES)
def test_a_climb_gains_and_can_go_unwatched(system, family):
    prompts, noise = study.sample_layouts(8, family, seed=1), study.first_noise(8, 1, 64)
    plan = study.Plan(12, 1.0)
    seen = study.climb(system, prompts, noise, plan)
    unseen = study.climb(system, prompts, noise, plan, watched=False)
    assert (seen.totals[-1] > seen.totals[0]).all()
    assert np.array_equal(seen.totals, unseen.totals)
    assert np.array_equal(seen.path, unseen.path)
    assert all(np.array_equal(seen.last[name], unseen.last[name]) for name in ("things", "all"))
    assert np.array_equal(unseen.after(12), unseen.last["all"])
    with pytest.raises(ValueError, match="watched=True"):
        unseen.after(3)


def test_rewards_see_the_whole_scene(system):
    prompts, noise = [COUNTED], study.first_noise(1, 2, 64)
    image = system.generator(noise, prompts).requires_grad_()
    for name, (reward, _) in system.rewards.items():
        slope = layouts.to_places(torch.autograd.grad(reward(image, prompts).sum(), image)[0])
        assert (slope.flatten(1).norm(dim=1) > 0).all(), name


def test_a_changed_file_is_not_read(tmp_path):
    path = tmp_path / "reno.layouts.npz"
    with pytest.raises(FileNotFoundError, match="--layouts fashion_mnist"):
        study.load_layouts(path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="SHA-256"):
        study.load_layouts(path)


def test_training_is_one_run_of_its_seed(monkeypatch, tmp_path):
    """With digits, so that no other data are needed."""
    few = layout_training.LayoutSteps(1, 1, 1, 1, 1)
    monkeypatch.setattr(make_weights, "LayoutSteps", lambda: few)
    own = layout_training.train_layouts
    monkeypatch.setattr(make_weights, "train_layouts", lambda *given: own(*given, scenes=20, batch=8))
    stored = []
    for name, seed in (("a.npz", 3), ("b.npz", 3), ("c.npz", 4)):
        options = ["--layouts", "mnist", "--seed", str(seed), "--out", str(tmp_path / name)]
        assert make_weights.main(options) == 0
        with np.load(tmp_path / name, allow_pickle=False) as arrays:
            stored.append({key: arrays[key] for key in arrays.files if "/" in key})
            assert json.loads(str(arrays["origin"]))["command"].endswith("--layouts mnist")
    assert all(np.array_equal(stored[0][key], stored[1][key]) for key in stored[0])
    assert any(not np.array_equal(stored[0][key], stored[2][key]) for key in stored[0])
    import hashlib

    path = tmp_path / "a.npz"
    loaded = study.load_layouts(path, hashlib.sha256(path.read_bytes()).hexdigest())
    assert loaded.domain is DIGITS
    assert loaded.generator(study.first_noise(1, size=64), ["two blue 9s"]).shape == (1, 3, 32, 32)


def test_each_part_is_trained_on_its_own_slice(monkeypatch):
    asked = []
    own = layout_training.LayoutPainter

    def spy(who, domain):
        asked.append(who)
        return own(who, domain)

    monkeypatch.setattr(layout_training, "LayoutPainter", spy)
    layout_training.train_layouts(DIGITS, layout_training.LayoutSteps(1, 1, 1, 1, 1), 0, scenes=20, batch=8)
    assert asked == ["generator", "generator", "judge", "rewards", "rewards", "test"]


def test_steps_are_shortened():
    assert layout_training.LayoutSteps(10, 20, 30, 40, 50).shortened(0.01) == layout_training.LayoutSteps(1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match="share"):
        layout_training.LayoutSteps().shortened(0)
