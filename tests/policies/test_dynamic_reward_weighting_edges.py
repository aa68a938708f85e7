"""At the edges of what a caller may hand in: overflow, rounding, endless text, frozen parts, tasks that return nonsense."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from lib.policies import dynamic_reward_weighting as drw
from lib.policies.dynamic_reward_weighting import study

UP = [True, True]


class Told(study.ArithmeticTask):
    """A task whose answers are bent by a function each: of the prompts, of the measures."""

    def __init__(self, prompts=lambda p: p, measure=lambda m: m):
        super().__init__(max_new=6)
        self.bend_prompts, self.bend = prompts, measure

    def prompts(self, n, rng, split):
        return self.bend_prompts(super().prompts(n, rng, split))

    def measure(self, rollouts):
        return self.bend(super().measure(rollouts))


def policy():
    return study.new_policy(width=16, max_new=6)


def trainer(task=None, weighting=None, given=None, **changes):
    own = {"prompts": 2, "group": 2, "minibatch": 2, "lr": 1e-3, "validation": 3}
    weighting = drw.FixedWeights([0.5, 0.25, 0.25]) if weighting is None else weighting
    return drw.Trainer(policy() if given is None else given, task or Told(), weighting, drw.RLConfig(**(own | changes)), seed=0)


def plain_boxed(text):
    """The definition, word by word: of the boxes that are closed, the one that begins last."""
    found = None
    for start in range(len(text)):
        if not text[:start].endswith(r"\boxed{"):
            continue
        depth = 1
        for place in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if not depth:
                found = text[start:place]
                break
    return found


def test_boxes_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(rng.choice([r"\boxed{", "{", "}", "a", " "], size=rng.integers(1, 14)))
        assert drw.boxed(text) == plain_boxed(text), text


def test_a_text_of_boxes_that_never_close_is_read_once():
    began = time.process_time()
    assert drw.boxed(r"\boxed{" * 20_000) is None  # a policy may repeat itself; one look from each box took minutes
    assert time.process_time() - began < 2


def test_equal_measures_are_not_below_their_mean_whatever_the_sum_rounds_to():
    assert np.sum([0.1, 0.1, 0.1]) / 3 > 0.1
    assert drw.RunningRewards([False])([[0.1], [0.1], [0.1]]).ravel().tolist() == [0, 0, 0]
    assert drw.RunningRewards([False])([[-0.1], [-0.1], [-0.3]]).ravel().tolist() == [0, 0, 1]
    for value in (0.0, *np.arange(-50, 51) / 7):  # whichever way it rounds, and at zero
        assert not drw.RunningRewards([False])(np.full((6, 1), value)).any(), value
    assert drw.RunningRewards([False])([[1e-9], [3e-9]]).ravel().tolist() == [1, 0]  # in units however small
    with pytest.raises(ValueError, match="measured"):
        drw.RunningRewards([True])([[1e308], [1e308]])


@pytest.mark.parametrize("volume", [drw.hypervolume, drw.hypervolume_by_slices])
def test_a_volume_beyond_floats_is_no_volume(volume):
    with pytest.raises(ValueError, match="other units"):
        volume([[1e200, 1e200]], [0, 0], UP)
    with pytest.raises(ValueError, match="other units"):
        drw.hypervolume_contribution([[1e200, 1e200]], [2e200, 2e200], [0, 0], UP)
    with pytest.raises(ValueError, match="maximize"):
        volume([[1.0, 1.0]], [0, 0], [[True], [True, False]])


def test_influences_are_summed_in_double_and_never_infinite():
    big = np.array([[1e30, 0], [1e30, 0]], np.float32)
    np.testing.assert_allclose(drw.influence(big), [2e60, 2e60], rtol=1e-6)
    with pytest.raises(ValueError, match="gradients"):
        drw.influence([[1e200], [1e200]])


def test_a_step_ends_on_the_simplex_or_says_that_it_is_too_long_for_floats():
    np.testing.assert_array_equal(drw.mirror_step([0.5, 0.5, 0.0], [1e200, 1e200, 3e200], 1e100), [0.5, 0.5, 0])
    with pytest.raises(ValueError, match="rate times influences"):
        drw.mirror_step([0.5, 0.5], [1e200, 2e200], 1e200)


def test_a_step_that_fails_leaves_the_weighting_as_it_was():
    method = drw.GradientInfluence([0.5, 0.5], mu=0.1)
    with pytest.raises(ValueError, match="lr"):
        method.step(drw.StepInfo(gradients=[[1.0], [2.0]], lr=float("nan")))
    assert method.influences == []
    with pytest.raises(TypeError, match="layers"):
        drw.GradientInfluence([0.5, 0.5], layers=3)


def test_whole_numbers_may_be_floats():
    settings = drw.RLConfig(prompts=2.0, group=2.0, minibatch=1.0)
    assert (settings.prompts, settings.group, type(settings.minibatch)) == (2, 2, int)
    assert trainer(prompts=2.0, minibatch=1.0).step().shape == (3,)


def test_policies_that_cannot_be_trained_are_refused():
    with pytest.raises(ValueError, match="policy must have parameters"):
        trainer(given=policy().requires_grad_(False))
    with pytest.raises(ValueError, match="float16"):
        trainer(given=policy().half())
    frozen = policy()
    frozen.blocks[0].requires_grad_(False)
    with pytest.raises(ValueError, match="layers must be blocks with parameters"):
        trainer(given=frozen, weighting=drw.GradientInfluence([1 / 3] * 3, mu=0.1, layers=[0])).step()
    free = drw.GradientInfluence([1 / 3] * 3, mu=0.1, layers=[1])
    before = frozen.blocks[0].qkv.weight.clone()
    trainer(given=frozen, weighting=free).step()
    assert torch.equal(before, frozen.blocks[0].qkv.weight)


def test_half_precision_that_adam_bears_trains():
    run = trainer(given=policy().bfloat16(), weighting=drw.GradientInfluence([1 / 3] * 3, mu=0.1))
    run.step()
    assert all(torch.isfinite(p).all() for p in run.policy.parameters())


@pytest.mark.parametrize(
    ("task", "word"),
    [
        (Told(prompts=lambda p: p[:-1]), "task must return 2 prompts, got 1"),
        (Told(measure=lambda m: m * np.nan), "task's measures must be finite"),
        (Told(measure=lambda m: m[:, :2]), "task's measures must have shape"),
        (Told(measure=lambda m: m[:1]), "task's measures must have shape"),
    ],
)
def test_tasks_that_return_nonsense_are_told_so(task, word):
    with pytest.raises(ValueError, match=word):
        trainer(task).step()
    with pytest.raises(ValueError, match="task"):
        trainer(task).test(2)


def test_measures_may_be_lists():
    np.testing.assert_array_equal(trainer(Told(measure=lambda m: m.tolist())).step(), trainer().step())


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: drw.Trainer(policy(), None, drw.FixedWeights([0.5, 0.5])), "task"),
        (lambda: drw.Trainer(policy(), Told(), drw.FixedWeights([0.5, 0.25, 0.25]), {}), "config"),
        (lambda: drw.Trainer(policy(), Told(), drw.RewardWeighting()), "weighting"),
    ],
)
def test_arguments_of_another_kind_are_named(call, word):
    with pytest.raises(TypeError, match=word):
        call()
