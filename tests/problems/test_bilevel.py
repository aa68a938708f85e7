"""Bilevel problems: slopes by autograd against closed forms, and what happens where something is missing."""

import pytest
import torch

from lib.problems.bilevel import BilevelProblem

x, y = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor([0.5, 3.0, 1.0], dtype=torch.float64)
A = torch.tensor([[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]], dtype=torch.float64)


def coupled(**more):
    return BilevelProblem(
        lambda x, y: (y**3).sum(),
        lambda x, y: 0.5 * ((y - A @ x) ** 2).sum(),
        lambda x, y: torch.stack([x.sum() + y.sum() - 1, y[0] * x[1]]),
        **more,
    )


def test_slopes_are_the_derivatives():
    problem = coupled()
    upper_x, upper_y = problem.upper_slopes(x, y)
    assert torch.equal(upper_x, torch.zeros(2, dtype=torch.float64))  # the upper level does not know x
    torch.testing.assert_close(upper_y, 3 * y**2)
    lower_x, lower_y = problem.lower_slopes(x, y)
    torch.testing.assert_close(lower_y, y - A @ x)
    torch.testing.assert_close(lower_x, -A.T @ (y - A @ x))
    pull_x, pull_y = problem.constraint_pull(x, y, torch.tensor([2.0, 3.0], dtype=torch.float64))
    torch.testing.assert_close(pull_x, torch.tensor([2.0, 2.0 + 3.0 * 0.5], dtype=torch.float64))
    torch.testing.assert_close(pull_y, torch.tensor([2.0 - 6.0, 2.0, 2.0], dtype=torch.float64))


def test_given_closed_forms_are_used_and_inputs_keep_no_graph():
    problem = coupled(lower_slopes=lambda x, y: (x, -y))
    assert torch.equal(problem.lower_slopes(x, y)[1], -y)
    assert not any(slope.requires_grad for slope in problem.upper_slopes(x, y))
    with torch.no_grad():
        torch.testing.assert_close(problem.upper_slopes(x, y)[1], 3 * y**2)


def test_projections():
    free = BilevelProblem(lambda x, y: x.sum(), lambda x, y: y.sum(), project_y=lambda y: y.clamp_(0, 1))
    before = y.clone()
    assert torch.equal(free.project_joint(x, y)[1], y.clamp(0, 1))
    assert torch.equal(y, before)  # a projection that writes into its argument writes into a copy
    assert torch.equal(free.project_x(x), x)
    assert torch.equal(free.constraint_pull(x, y, torch.zeros(0))[1], torch.zeros_like(y))
    with pytest.raises(ValueError, match="project_joint"):
        coupled().project_joint(x, y)


@pytest.mark.parametrize("argument", ["upper", "lower", "project_x", "lower_slopes"])
def test_what_is_no_function_is_named(argument):
    levels = {"upper": lambda x, y: y.sum(), "lower": lambda x, y: y.sum()}
    with pytest.raises(TypeError, match=argument):
        BilevelProblem(**(levels | {argument: 3}))


@pytest.mark.parametrize("more", [{"equality": True}, {"constraint_pull": lambda x, y, w: (x, y)}])
def test_talk_of_constraints_needs_some(more):
    with pytest.raises(ValueError, match=next(iter(more))):
        BilevelProblem(lambda x, y: y.sum(), lambda x, y: y.sum(), **more)
