"""At the edges of what a caller may hand in: huge rewards, functions that change their arguments, other optimizers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lib.objectives.reno import (
    FunctionGenerator,
    NoiseOptimizer,
    RewardEnsemble,
    best_of_n,
    clip_by_sample,
    losses,
    nesterov_ascent,
)

CODES = torch.eye(6)[:3].contiguous()
PLUS = FunctionGenerator(torch.add, (6,))


def cosine(images, codes):
    return nn.functional.cosine_similarity(images, codes)


def noise_of():
    return torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


def optimizer(rewards=None, generator=PLUS, **settings):
    return NoiseOptimizer(generator, rewards or {"cosine": (cosine, 1.0)}, **({"n_iter": 5, "lr": 1.0} | settings))


def run(*args, **settings):
    return optimizer(*args, **settings).run(CODES, noise_of(), seed=0)


def test_a_gradient_whose_squares_overflow_is_clipped_not_zeroed():
    steep = torch.tensor([[3e30, 4e30], [0.03, 0.04]])
    torch.testing.assert_close(clip_by_sample(steep, 0.1), torch.tensor([[0.06, 0.08], [0.03, 0.04]]))
    torch.testing.assert_close(clip_by_sample(steep.double() * 1e200, 0.1).norm(dim=1), torch.full((2,), 0.1).double())
    torch.testing.assert_close(clip_by_sample(steep, float("inf")), steep)
    with pytest.raises(ValueError, match="gradient must have shape"):
        clip_by_sample(torch.ones(2), 0.1)


@pytest.mark.parametrize("weight", [1e6, 1e30])
def test_units_of_a_reward_do_not_matter_once_its_gradient_is_clipped(weight):
    plain, other = run({"cosine": (cosine, 1e3)}, reg=0.0), run({"cosine": (cosine, weight)}, reg=0.0)
    torch.testing.assert_close(other.noise, plain.noise)


def test_what_a_callback_does_to_its_arguments_changes_no_run():
    def spoil(at, images, noise, rewards):
        for value in (images, noise, *rewards.values()):
            value.zero_()

    plain = run()
    found = optimizer().run(CODES, noise_of(), callback=spoil)
    for name in ("noise", "images", "init_images"):
        assert torch.equal(getattr(found, name), getattr(plain, name)), name
    assert torch.equal(found.history["total"], plain.history["total"])


@pytest.mark.parametrize("kind", ["sgd", "adam", "best_of_n"])
def test_a_generator_that_changes_its_noise_changes_only_its_own_copy(kind):
    rude = run(generator=FunctionGenerator(lambda noise, codes: noise.mul_(2) + codes, (6,)), optimizer=kind)
    kind_one = run(generator=FunctionGenerator(lambda noise, codes: noise * 2 + codes, (6,)), optimizer=kind)
    assert torch.equal(rude.noise, kind_one.noise)


def test_a_reward_that_changes_the_images_is_refused():
    with pytest.raises(ValueError, match="reward 'rude' must not change the images"):
        run({"rude": (lambda images, codes: images.mul_(0.5).sum(1), 1.0)}, optimizer="best_of_n")


@pytest.mark.parametrize("answer", [3.0, None, torch.ones(3, dtype=torch.complex64)])
def test_rewards_are_tensors_of_real_numbers(answer):
    with pytest.raises(TypeError, match="reward 'odd'"):
        run({"odd": (lambda images, codes: answer, 1.0)})


def test_weights_whose_sum_overflows_are_refused():
    with pytest.raises(ValueError, match="weighted sum"):
        run({"cosine": (lambda images, codes: 10 * cosine(images, codes), 1e308)})


def test_shapes_that_would_broadcast_are_refused():
    one, three = torch.ones(1, 2), torch.ones(3, 2)
    with pytest.raises(ValueError, match="gradient must have the shape"):
        nesterov_ascent(one, three, None, 1.0)
    with pytest.raises(ValueError, match="velocity must have the shape"):
        nesterov_ascent(one, one, three, 1.0)
    with pytest.raises(TypeError, match="nesterov"):
        nesterov_ascent(one, one, None, 1.0, nesterov="no")
    with pytest.raises(ValueError, match="generator must return 3 images"):
        run(generator=FunctionGenerator(lambda noise, codes: noise.sum(), (6,)))


def test_only_what_fits_is_taken_up():
    found = run()
    for other, word in (
        (optimizer(optimizer="adam"), "same optimizer"),
        (optimizer(optimizer="lbfgs"), "same optimizer"),
        (optimizer({"other": (cosine, 1.0)}), "same names"),
        (optimizer(generator=FunctionGenerator(torch.add, (7,))), "same noise_shape"),
    ):
        with pytest.raises(ValueError, match=word):
            other.resume(found, CODES, 2)
    assert len(optimizer().resume(run(optimizer="best_of_n"), CODES, 2).history["total"]) == 7  # nothing to remember: fits all


def test_inference_mode_outside_is_left_for_the_climb():
    plain = run()
    with torch.inference_mode():
        found = run()
        images = PLUS(noise_of(), CODES)
        RewardEnsemble({"cosine": (cosine, 1.0)})(images, CODES)  # whose changes are not counted there
    assert torch.equal(found.noise, plain.noise)
    assert len(best_of_n(PLUS, {"cosine": (cosine, 1.0)}, CODES, 3, seed=0).images) == 3


def test_modules_in_lists_are_found_and_put_in_evaluation_mode():
    class Holder:
        noise_shape = (6,)

        def __init__(self):
            self.parts, self.named = [nn.Dropout(0.5)], {"second": nn.Dropout(0.5)}

        def __call__(self, noise, codes):
            return self.named["second"](self.parts[0](noise)) + codes

    holder = Holder()
    assert torch.equal(run(generator=holder, n_iter=1).images, noise_of() + CODES)
    assert holder.parts[0].training


def test_a_text_is_encoded_anew_when_its_model_changes():
    model = nn.Linear(2, 3)
    reward = losses.FeatureReward(
        lambda pixels: pixels.mean((2, 3)), lambda prompts: model(torch.ones(len(prompts), 2)), losses.hps_loss, model
    )
    images = torch.rand(2, 3, 8, 8)
    first = reward(images, ["a", "b"])
    with torch.no_grad():
        model.weight.neg_()
        model.bias.neg_()
    torch.testing.assert_close(reward(images, ["a", "b"]) + 1, -(first + 1))
    reward.double()
    assert reward._known is None


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: losses.cosines(torch.zeros(1, 2), torch.ones(1, 2)), "image_features"),
        (lambda: losses.cosines(torch.ones(1, 2), torch.zeros(1, 2)), "text_features"),
        (lambda: losses.preprocess(torch.rand(1, 1, 8, 8)), "3 colors"),
        (lambda: losses.preprocess(torch.rand(1, 3, 8, 8), 0), "size"),
        (lambda: losses.image_reward_loss(torch.ones(1), 0.0, 0.0), "std"),
        (lambda: losses.clip_loss(torch.ones(1, 2), torch.ones(1, 2), float("nan")), "logit_scale"),
    ],
)
def test_losses_of_nothing_are_refused(call, word):
    with pytest.raises(ValueError, match=word):
        call()
