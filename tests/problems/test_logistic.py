"""Logistic regression of two classes and more: autograd, scikit-learn and separating lines as oracles."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from sklearn.linear_model import LogisticRegression as SkLogistic

from lib.problems.logistic import LogisticRegression, SoftmaxRegression


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


@pytest.mark.parametrize("max_iter", [5, 100])
def test_there_is_no_success_where_there_is_no_minimum(max_iter):
    X, y = data()
    line = LogisticRegression(X, (X[:, 0] > 2).astype(int)).minimum(max_iter=max_iter)
    split = SoftmaxRegression(X, np.where(X[:, 0] > 2.8, 2, y)).minimum(max_iter=max_iter)  # one class of three apart
    assert not line.success
    assert not split.success
    penalized = LogisticRegression(X, (X[:, 0] > 2).astype(int), l2=1e-3).minimum()
    assert penalized.success


def test_problem_keeps_its_own_copy_of_the_data():
    X, y = data()
    problem = LogisticRegression(X, y, standardize=False, intercept=False)
    before = problem.loss(torch.ones(3, dtype=torch.float64))
    X[:] = 0
    assert problem.loss(torch.ones(3, dtype=torch.float64)) == before


@pytest.mark.parametrize("bad", ["0.1", None, object(), 1j])
@pytest.mark.parametrize("name", ["X", "y", "l2"])
def test_other_kinds_of_input_are_refused_by_name(name, bad):
    good = {"X": [[1.0], [2.0]], "y": [0, 1], "l2": 0.0}
    for make in (LogisticRegression, SoftmaxRegression):
        with pytest.raises(TypeError, match=name):
            make(**good | {name: bad})
    with pytest.raises(TypeError, match="max_iter"):
        LogisticRegression(**good).minimum(max_iter=2.5)


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
        ([[1.0], [2.0]], [0], 0, "y must have shape"),
        ([1.0, 2.0], [0, 1], 0, "X must have 2 dimensions"),
        ([[np.nan], [2.0]], [0, 1], 0, "finite"),
        ([[1.0], [2.0]], [1, 1], 0, "both"),
        ([[1.0], [2.0]], [1, 2], 0, "classes 0 and 1"),
        ([[1.0], [2.0]], [0, 1], -1, "l2 must be a finite number at least 0, got -1"),
    ],
)
def test_bad_input_is_named(X, y, l2, message):
    with pytest.raises(ValueError, match=message):
        LogisticRegression(X, y, l2)


def test_weights_of_another_size_are_refused(problem):
    with pytest.raises(ValueError, match=r"\(\.\.\., 4\), got \(3,\)"):
        problem.loss(torch.zeros(3, dtype=torch.float64))


# More than two classes


def classes(seed=0, n=90, d=3, n_classes=4):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * [1, 10, 0.1] + 2
    scores = (X - 2) @ (rng.normal(size=(d, n_classes)) / [[1], [10], [0.1]])
    return X, (scores + rng.gumbel(size=scores.shape)).argmax(1)


@pytest.fixture
def softmax():
    return SoftmaxRegression(*classes(), l2=0.1)


@pytest.fixture
def W():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(2, 5, 16)))


def test_softmax_loss_is_cross_entropy(softmax, W):
    for v in W.flatten(0, 1):
        logits = softmax.X @ v.view(4, 4).T
        expected = torch.nn.functional.cross_entropy(logits, softmax.y.long()) + 0.05 * (v**2).sum()
        torch.testing.assert_close(softmax.loss(v), expected)
    torch.testing.assert_close(softmax.loss(W)[1, 2], softmax.loss(W[1, 2]))


def test_softmax_gradient_and_hessian_are_those_of_autograd(softmax, W):
    v = W[0, 0].clone().requires_grad_()
    expected = torch.autograd.grad(softmax.loss(v), v)[0]
    torch.testing.assert_close(softmax.gradient(W)[0, 0], expected)
    torch.testing.assert_close(softmax.gradient(W[0, 0]), expected)
    torch.testing.assert_close(softmax.hessian(W[0, 0]), torch.autograd.functional.hessian(softmax.loss, W[0, 0]))


def test_softmax_minibatches_go_with_the_leading_axes(softmax, W):
    rows = torch.tensor([[0, 5, 7], [2, 2, 9]])
    loss, gradient = softmax.loss(W, rows), softmax.gradient(W, rows)
    assert loss.shape == (2, 5)
    assert gradient.shape == W.shape
    for s in range(2):
        for r in range(5):
            v = W[s, r].clone().requires_grad_()
            logits = softmax.X[rows[s]] @ v.view(4, 4).T
            expected = torch.nn.functional.cross_entropy(logits, softmax.y[rows[s]].long()) + 0.05 * (v**2).sum()
            torch.testing.assert_close(loss[s, r], expected)
            torch.testing.assert_close(gradient[s, r], torch.autograd.grad(expected, v)[0])
    torch.testing.assert_close(softmax.gradient(W[0, 0], rows[0]), gradient[0, 0])
    torch.testing.assert_close(softmax.gradient(W[0], rows[0]), gradient[0])


def test_two_classes_are_logistic_regression(w):
    X, y = data()
    two, one = SoftmaxRegression(X, y), LogisticRegression(X, y)
    zero = torch.zeros_like(w)
    torch.testing.assert_close(two.loss(torch.cat([zero, w], -1)), one.loss(w))
    torch.testing.assert_close(two.gradient(torch.cat([zero, w], -1))[..., 4:], one.gradient(w))
    assert two.minimum().fun == pytest.approx(one.minimum().fun, rel=1e-9)
    penalized, half = SoftmaxRegression(X, y, l2=0.2), LogisticRegression(X, y, l2=0.1)
    x = penalized.minimum().x
    torch.testing.assert_close(x[4:] - x[:4], half.minimum().x, rtol=1e-6, atol=1e-8)
    assert two.is_separable() == one.is_separable() is False


def test_softmax_minimum_agrees_with_scikit_learn():
    X, y = classes(n=300)
    problem = SoftmaxRegression(X, y)
    result = problem.minimum()
    assert result.success
    assert problem.gradient(result.x).norm() < 1e-9
    fitted = SkLogistic(C=1e8, tol=1e-10, max_iter=5000).fit(problem.X[:, :-1].numpy(), y)
    W = result.x.view(4, 4).numpy()
    np.testing.assert_allclose((W - W.mean(0))[:, :-1], fitted.coef_, atol=1e-4)


def test_softmax_smoothness_bounds_the_hessian(softmax, W):
    for v in (0 * W[0, 0], W[0, 0], 5 * W[1, 1]):
        assert torch.linalg.eigvalsh(softmax.hessian(v))[-1] <= softmax.smoothness() + 1e-12


def separable_by_one_program(problem):
    """All margins in one linear program."""
    X, y, C = problem.X.numpy(), problem.y.long().numpy(), problem.n_classes
    rows = []
    for x, own in zip(X, y, strict=True):
        for wrong in set(range(C)) - {own}:
            row = np.zeros((C, len(x)))
            row[own], row[wrong] = x, -x
            rows.append(row.ravel())
    A = np.array(rows)
    return -linprog(-A.mean(0), A_ub=-A, b_ub=np.zeros(len(A)), bounds=(-1, 1), method="highs").fun > 1e-6


def test_separable_classes_are_recognized_among_several():
    X, y = classes()
    problem = SoftmaxRegression(X, y)
    assert not problem.is_separable()
    sectors = np.digitize(X[:, 0], [1.5, 2.5])  # parallel lines: the middle class wins in between
    line = SoftmaxRegression(X, sectors)
    assert line.is_separable()
    assert not line.minimum(max_iter=5).success
    split_off = np.where(X[:, 0] > 2.8, 2, (y > 1).astype(int))  # one class apart, the other two mixed: no minimizer either
    assert SoftmaxRegression(X, split_off).is_separable()
    rng = np.random.default_rng(5)
    found = []
    for n in (8, 12, 16, 24):
        for _ in range(4):
            problem = SoftmaxRegression(rng.normal(size=(n, 2)), np.append([0, 1, 2], rng.integers(0, 3, n - 3)))
            found.append(problem.is_separable())
            assert found[-1] == separable_by_one_program(problem)
    assert 0 < sum(found) < len(found)


def test_softmax_dtype_follows_the_data():
    X, y = classes()
    problem = SoftmaxRegression(X.astype(np.float32), y)
    w = torch.zeros(16)
    assert problem.loss(w).dtype == problem.gradient(w).dtype == problem.hessian(w).dtype == torch.float32
    assert SoftmaxRegression(X.astype(int), y).X.dtype == torch.float64


@pytest.mark.parametrize("y", [[0, 0, 0], [0, 2, 2], [1, 2, 3], [0, 1, 0.5]])
def test_softmax_names_bad_classes(y):
    with pytest.raises(ValueError, match=r"classes 0, 1, \.\.\., C-1, each of at least two, got \["):
        SoftmaxRegression([[0.0], [1.0], [2.0]], y)


def test_softmax_names_bad_weights(softmax):
    with pytest.raises(ValueError, match=r"\(\.\.\., 16\), got \(4,\)"):
        softmax.loss(torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"\(16,\), got \(2, 16\)"):
        softmax.hessian(torch.zeros(2, 16, dtype=torch.float64))
    with pytest.raises(ValueError, match="l2 must be a finite number at least 0, got -1"):
        SoftmaxRegression(*classes(), l2=-1)
