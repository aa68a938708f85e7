"""Two chapters' loops on one cleaning task: the same gradients are counted, the same judge judges."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.constrained.bilevel_penalty import SingleLoopPenalty, study
from lib.constrained.bilevel_penalty.study.meeting import clean_by
from lib.constrained.lv_hba import LVHBA
from lib.problems.bilevel import BilevelProblem
from lib.problems.cleaning import cleaning_task


@pytest.fixture(scope="module")
def cleaning():
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = np.eye(3)[y] + 0.3 * rng.normal(size=(120, 3))
    return study.SoftmaxCleaning(cleaning_task(X, y, n_train=60, n_val=30, share=0.4, seed=1), penalty=1e-3)


def test_the_penalty_method_driven_from_outside_is_the_studys_own(cleaning):
    loop = SingleLoopPenalty(cleaning.problem, cleaning.x0, cleaning.y0, sigma=0.1, alpha=50.0, gamma=0.5)

    def step(state):
        loop.step()
        return SimpleNamespace(x=loop.x)

    found = clean_by(cleaning, step, SimpleNamespace(x=cleaning.x0), calls=200, calls_a_step=3)
    own = study.clean_penalty(cleaning, 200, alpha=50.0, gamma=0.5, sigma=0.1)
    assert (found.calls, found.loss, found.accuracy, found.auc) == (own.calls, own.loss, own.accuracy, own.auc)
    assert torch.equal(found.x, own.x)


def test_lvhba_takes_the_same_problem_at_four_gradients_a_step(cleaning):
    """The two slopes of f and the two calls of g's slopes at theta, counted."""
    count = {"upper": 0, "lower": 0}
    of = cleaning.problem

    def counted(name, slopes):
        def call(x, y):
            count[name] += 1
            return slopes(x, y)

        return call

    problem = BilevelProblem(
        of.upper, of.lower, upper_slopes=counted("upper", of.upper_slopes), lower_slopes=counted("lower", of.lower_slopes)
    )
    method = LVHBA(alpha=0.5, eta=0.5, gamma1=10.0, alpha_x=500.0)
    first = method.start(problem, cleaning.x0, cleaning.y0)
    steps = method.steps(problem, first)
    count.update(upper=0, lower=0)
    found = clean_by(cleaning, lambda s: method.step(problem, s, steps), first, calls=400, calls_a_step=4)
    assert sum(count.values()) == found.calls == 400
    assert found.auc > 0.8


def test_bad_input_is_named(cleaning):
    first = SimpleNamespace(x=cleaning.x0)
    with pytest.raises(TypeError, match="cleaning"):
        clean_by(cleaning.task, lambda s: s, first, 10, 4)
    with pytest.raises(TypeError, match="step"):
        clean_by(cleaning, None, first, 10, 4)
    with pytest.raises(ValueError, match="calls"):
        clean_by(cleaning, lambda s: s, first, 3, 4)
