"""Two-class logistic regression: autograd, scikit-learn and a separating line as oracles."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as SkLogistic

from lib.problems.logistic import LogisticRegression


def data(seed=0, n=60, d=3):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * [1, 10, 0.1] + 2
    return X, (rng.random(n) < 1 / (1 + np.exp(-(X[:, 0] - 2)))).astype(int)


@pytest.fixture
def problem():
    return LogisticRegression(*data(), l2=0.1)


@pytest.fixture
def w():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(2, 5, 4)))


def test_loss_is_the_mean_negative_log_likelihood(problem, w):
    p = torch.sigmoid(w @ problem.X.T)
    expected = -torch.where(problem.y == 1, p, 1 - p).log().mean(-1) + 0.05 * (w**2).sum(-1)
    torch.testing.assert_close(problem.loss(w), expected)


def test_gradient_and_hessian_are_those_of_autograd(problem, w):
    v = w[0, 0].clone().requires_grad_()
    torch.testing.assert_close(problem.gradient(w)[0, 0], torch.autograd.grad(problem.loss(v), v)[0])
    torch.testing.assert_close(problem.hessian(w)[0, 0], torch.autograd.functional.hessian(problem.loss, w[0, 0]))


def test_minibatches_go_with_the_leading_axes(problem, w):
    rows = torch.tensor([[0, 5, 7], [2, 2, 9]])
    loss, gradient = problem.loss(w, rows), problem.gradient(w, rows)
    assert loss.shape == (2, 5)
    assert gradient.shape == (2, 5, 4)
    for s in range(2):
        part = LogisticRegression(problem.X[rows[s]].numpy(), [0, 1, 1], l2=0.1, standardize=False, intercept=False)
        part.y = problem.y[rows[s]]
        torch.testing.assert_close(loss[s], part.loss(w[s]))
        torch.testing.assert_close(gradient[s], part.gradient(w[s]))
    torch.testing.assert_close(problem.gradient(w[0, 0], rows[0]), gradient[0, 0])


def test_minimum_agrees_with_scikit_learn():
    X, y = data()
    problem = LogisticRegression(X, y)
    result = problem.minimum()
    assert result.success
    fitted = SkLogistic(C=1e8, tol=1e-10, max_iter=5000).fit(problem.X[:, :-1].numpy(), y)
    np.testing.assert_allclose(result.x[:-1], fitted.coef_[0], atol=1e-5)
    assert problem.gradient(result.x).norm() < 1e-9


def test_smoothness_bounds_every_hessian(problem, w):
    largest = torch.linalg.eigvalsh(problem.hessian(10 * w))[..., -1]
    assert (largest <= problem.smoothness() + 1e-12).all()
    torch.testing.assert_close(
        torch.linalg.eigvalsh(problem.hessian(torch.zeros(4, dtype=torch.float64)))[-1].item(), problem.smoothness()
    )


def test_separable_classes_are_recognized():
    X, y = data()
    assert not LogisticRegression(X, y).is_separable()
    line = LogisticRegression(X, (X[:, 0] > 2).astype(int))
    assert line.is_separable()
    assert not line.minimum(max_iter=5).success


def test_columns_are_standardized_and_constant_ones_vanish():
    X, y = data()
    X[:, 1] = 3
    problem = LogisticRegression(X, y)
    np.testing.assert_allclose(problem.X.mean(0), [0, 0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(problem.X.std(0, correction=0), [1, 0, 1, 0], atol=1e-12)


def test_dtype_follows_the_data():
    X, y = data()
    assert LogisticRegression(X.astype(np.float32), y).X.dtype == torch.float32
    assert LogisticRegression(X.astype(int), y).X.dtype == torch.float64


@pytest.mark.parametrize(
    ("X", "y", "l2", "message"),
    [
        ([[1.0], [2.0]], [0], 0, "must have shape"),
        ([1.0, 2.0], [0, 1], 0, "must have shape"),
        ([[np.nan], [2.0]], [0, 1], 0, "finite"),
        ([[1.0], [2.0]], [1, 1], 0, "both"),
        ([[1.0], [2.0]], [1, 2], 0, "classes 0 and 1"),
        ([[1.0], [2.0]], [0, 1], -1, "l2 must not be negative"),
    ],
)
def test_bad_input_is_named(X, y, l2, message):
    with pytest.raises(ValueError, match=message):
        LogisticRegression(X, y, l2)


def test_weights_of_another_size_are_refused(problem):
    with pytest.raises(ValueError, match=r"\(\.\.\., 4\), got \(3,\)"):
        problem.loss(torch.zeros(3, dtype=torch.float64))
