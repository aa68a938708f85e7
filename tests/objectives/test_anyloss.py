"""AnyLoss: soft confusion matrix, scores, losses and closed-form gradients (see also test_anyloss_learners.py)."""

import copy
import io
import math
import pickle

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn import metrics

from lib.objectives.anyloss import AnyLoss, SOLLoss, functional, max_safe_L, slp_gradient, soft_confusion
from lib.objectives.anyloss.functional import Confusion

SIX = {
    "accuracy": {"metric": "accuracy"},
    "f0.5": {"metric": "fbeta", "beta": 0.5},
    "f1": {"metric": "f1"},
    "f2": {"metric": "f2"},
    "gmean": {"metric": "gmean"},
    "balanced_accuracy": {"metric": "balanced_accuracy"},
}
six = pytest.mark.parametrize("kwargs", SIX.values(), ids=SIX)


@pytest.fixture
def batch():
    """300 probabilities and labels, 30 % positives, float64."""
    rng = np.random.default_rng(7)
    y = (rng.random(300) < 0.3).astype(int)
    return torch.tensor(expit(rng.normal(size=300) + y)), torch.tensor(y)


def design(seed=0, n=80, d=4):
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, d - 1))])
    y = (rng.random(n) < expit(X[:, 1] - 1)).astype(int)
    return X, y, rng.normal(size=d) * 0.3


def sums(X, y, theta, L):
    """The quantities of the paper's gradients, written in S_y, S_h and S_hy."""
    p = 1 / (1 + np.exp(-X @ theta))
    yh = 1 / (1 + np.exp(-L * (p - 0.5)))
    w = L * yh * (1 - yh) * p * (1 - p)
    return len(y), y.sum(), yh.sum(), (y * yh).sum(), (w[:, None] * X).sum(0), ((y * w)[:, None] * X).sum(0)


def paper_gradient(name, X, y, theta, L):
    """The paper's closed forms, one by one."""
    n, sy, sh, shy, gh, gt = sums(X, y, theta, L)
    if name == "accuracy":
        return (gh - 2 * gt) / n
    if name.startswith("f"):
        b2 = float(name[1:]) ** 2
        return -(1 + b2) * (gt * (b2 * sy + sh) - gh * shy) / (b2 * sy + sh) ** 2
    if name == "balanced_accuracy":
        return -(n * gt - sy * gh) / (2 * sy * (n - sy))
    T = n - sy - sh + shy
    return -0.5 * (gt * T + (gt - gh) * shy) / np.sqrt(sy * (n - sy) * shy * T)


def autograd_gradient(loss, X, y, theta):
    t = torch.tensor(theta, requires_grad=True)
    loss(torch.sigmoid(torch.tensor(X) @ t), torch.tensor(y)).backward()
    return t.grad.numpy()


# --- identities -----------------------------------------------------------------------------------------------------


def test_cells_sum_to_n_and_equal_a_loop(batch):
    p, y = batch
    cells = soft_confusion(p, y)
    assert abs(float(sum(cells)) - 300) < 1e-12
    loop = np.zeros(4)
    for pi, yi in zip(p.tolist(), y.tolist(), strict=True):
        a = 1 / (1 + math.exp(-73 * (pi - 0.5)))
        loop += [yi * a, (1 - yi) * a, yi * (1 - a), (1 - yi) * (1 - a)]
    np.testing.assert_allclose([float(c) for c in cells], loop, rtol=1e-12)
    assert all(c.shape == () and c.dtype == torch.float64 for c in cells)


@six
@pytest.mark.parametrize("L", [1.0, 10.0, 73.0])
def test_closed_form_equals_autograd_and_the_papers_formula(kwargs, L, request):
    X, y, theta = design()
    name = request.node.callspec.id.rsplit("-", 1)[-1]
    ours = slp_gradient(kwargs["metric"], X, y, theta, L, beta=kwargs.get("beta", 1.0))
    np.testing.assert_allclose(ours, autograd_gradient(AnyLoss(**kwargs, L=L), X, y, theta), atol=1e-12)
    np.testing.assert_allclose(ours, paper_gradient(name, X, y, theta, L), atol=1e-12)


@six
def test_closed_form_equals_finite_differences(kwargs):
    X, y, theta = design(1)
    loss, h = AnyLoss(**kwargs, L=5.0), 1e-6

    def value(t):
        return float(loss(torch.tensor(expit(X @ t)), torch.tensor(y)))

    numeric = [(value(theta + h * e) - value(theta - h * e)) / (2 * h) for e in np.eye(4)]
    ours = slp_gradient(kwargs["metric"], X, y, theta, 5.0, beta=kwargs.get("beta", 1.0))
    np.testing.assert_allclose(ours, numeric, atol=1e-8)  # central differences: h^2 plus rounding / h


def test_gradient_of_a_callable_score_equals_autograd_and_the_named_one():
    X, y, theta = design(2)
    by_hand = slp_gradient(lambda tp, fp, fn, tn: 2 * tp / (2 * tp + fp + fn), X, y, theta)
    np.testing.assert_allclose(by_hand, slp_gradient("f1", X, y, theta), atol=1e-12)
    ours = slp_gradient(functional.mcc, X, y, theta, 10.0)
    np.testing.assert_allclose(ours, autograd_gradient(AnyLoss(functional.mcc, L=10.0), X, y, theta), atol=1e-12)


def test_authors_gmean_gradient_is_four_times_the_true_one():
    X, y, theta = design(3)
    n, sy, sh, shy, gh, gt = sums(X, y, theta, 73.0)
    T = n - sy - sh + shy
    authors = -2 * (gt * T + (gt - gh) * shy) / np.sqrt(sy * (n - sy) * shy * T)
    np.testing.assert_allclose(authors / slp_gradient("gmean", X, y, theta), 4.0, rtol=1e-10)


def test_accuracy_loss_is_the_mean_absolute_error_of_amplified_probabilities(batch):
    p, y = batch
    assert float(AnyLoss("accuracy")(p, y)) == pytest.approx(float((functional.amplify(p) - y).abs().mean()), abs=1e-14)


@six
def test_losses_equal_the_papers_formulas_in_sums(kwargs, batch, request):
    p, y = batch
    a = 1 / (1 + np.exp(-73 * (p.numpy() - 0.5)))
    n, sy, sh, shy = len(y), y.sum().item(), a.sum(), (a * y.numpy()).sum()
    name = request.node.callspec.id
    if name == "accuracy":
        score = (n - sy - sh + 2 * shy) / n
    elif name == "gmean":
        score = math.sqrt(shy * (n - sy - sh + shy) / (sy * (n - sy)))
    elif name == "balanced_accuracy":
        score = (n * (shy + sy) - sy * (sh + sy)) / (2 * sy * (n - sy))
    else:
        b2 = float(name[1:]) ** 2
        score = (1 + b2) * shy / (b2 * sy + sh)
    assert float(AnyLoss(**kwargs)(p, y)) == pytest.approx(1 - score, abs=1e-12)
    functional_form = functional.any_loss(p, y, **kwargs)
    assert float(functional_form) == pytest.approx(1 - score, abs=1e-12)


def test_first_gradient_is_the_steepest_possible():
    # At theta = 0 every p is 1/2 and w = L / 16.
    X = np.array([[1.0, -1.0], [1.0, 1.0]])
    np.testing.assert_allclose(slp_gradient("accuracy", X, [0, 1], np.zeros(2)), [0, -73 / 16], atol=1e-15)


# --- limits ---------------------------------------------------------------------------------------------------------


def test_fbeta_tends_to_precision_and_to_recall(batch):
    p, y = batch
    tp, fp, fn, _ = (float(c) for c in soft_confusion(p, y))
    assert float(AnyLoss("fbeta", beta=1e-6)(p, y)) == pytest.approx(1 - tp / (tp + fp), abs=1e-10)
    assert float(AnyLoss("fbeta", beta=1e6)(p, y)) == pytest.approx(1 - tp / (tp + fn), abs=1e-10)
    assert float(AnyLoss("fbeta", beta=0.0)(p, y)) == pytest.approx(1 - tp / (tp + fp), abs=1e-15)


def test_balanced_accuracy_is_accuracy_when_classes_are_balanced(batch):
    p, y = batch[0], torch.arange(300) % 2
    assert float(AnyLoss("balanced_accuracy")(p, y)) == pytest.approx(float(AnyLoss("accuracy")(p, y)), abs=1e-15)


def test_large_L_gives_the_hard_metrics_of_sklearn(batch):
    p, y = batch
    far = (p - 0.5).abs() > 0.01
    p, y = p[far], y[far]
    said, true = (p > 0.5).int().numpy(), y.numpy()
    recall = [metrics.recall_score(true, said, pos_label=label) for label in (0, 1)]
    expected = {
        "accuracy": metrics.accuracy_score(true, said),
        "f1": metrics.f1_score(true, said),
        "f0.5": metrics.fbeta_score(true, said, beta=0.5),
        "f2": metrics.fbeta_score(true, said, beta=2),
        "gmean": math.sqrt(recall[0] * recall[1]),
        "balanced_accuracy": metrics.balanced_accuracy_score(true, said),
    }
    for name, kwargs in SIX.items():
        assert 1 - float(AnyLoss(**kwargs, L=1e4)(p, y)) == pytest.approx(expected[name], abs=1e-6), name
    custom = {
        "mcc": (functional.mcc, metrics.matthews_corrcoef),
        "jaccard": (functional.jaccard, metrics.jaccard_score),
    }
    for ours, theirs in custom.values():
        assert 1 - float(AnyLoss(ours, L=1e4)(p, y)) == pytest.approx(theirs(true, said), abs=1e-6)


@six
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_perfect_separation_has_no_loss_and_a_finite_gradient(kwargs, dtype):
    y = torch.tensor([0, 1, 1, 0, 0, 1])
    p = y.to(dtype).requires_grad_()
    loss = AnyLoss(**kwargs)(p, y)
    loss.backward()
    assert loss.item() < (1e-15 if dtype == torch.float64 else 1e-7)
    assert torch.isfinite(p.grad).all()


@six
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("says", [0.0, 1.0])
@pytest.mark.parametrize("L", [73.0, 1e4])
def test_gradient_is_finite_where_a_class_is_never_or_always_predicted(kwargs, dtype, says, L):
    y = torch.tensor([0, 1, 1, 0, 0, 0])
    p = torch.full((6,), says, dtype=dtype, requires_grad=True)
    loss = AnyLoss(**kwargs, L=L)(p, y)
    loss.backward()
    assert math.isfinite(loss.item())
    assert torch.isfinite(p.grad).all()


def test_gmean_gradient_is_right_although_one_class_is_hardly_predicted():
    # TP ~ 1e-12: the guard inside the square root must not act, and TN must not be lost by subtraction.
    X, y, _ = design(4)
    for intercept in (-2.0, 2.0):
        theta = np.array([intercept, 0.01, 0.01, 0.01])
        ours = slp_gradient("gmean", X, y, theta)
        assert np.abs(ours).max() > 0
        np.testing.assert_allclose(ours, autograd_gradient(AnyLoss("gmean"), X, y, theta), rtol=1e-9)
        numeric = [
            (functional.gmean(*_cells(X, y, theta - 1e-6 * e)) - functional.gmean(*_cells(X, y, theta + 1e-6 * e))) / 2e-6
            for e in np.eye(4)
        ]
        # 1 - A(p) has four digits left where A(p) = 1 - 1e-12.
        np.testing.assert_allclose(ours, numeric, rtol=5e-3)


def _cells(X, y, theta):
    a = expit(73 * (expit(X @ theta) - 0.5))
    b = expit(-73 * (expit(X @ theta) - 0.5))
    return (y * a).sum(), ((1 - y) * a).sum(), (y * b).sum(), ((1 - y) * b).sum()


def test_gmean_slopes_are_zero_where_the_gmean_is():
    cells = Confusion(np.array([0.0, 3.0]), np.array([1.0, 6.0]), np.array([4.0, 1.0]), np.array([5.0, 0.0]))
    assert np.array_equal(functional.metric_slopes("gmean", cells, 5.0, 6.0), np.zeros((2, 2)))


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 73), (torch.float32, 33)])
def test_max_safe_L_is_the_last_integer_before_saturation(dtype, limit):
    assert max_safe_L(dtype) == limit
    assert isinstance(max_safe_L(dtype), int)
    one = torch.ones(1, dtype=dtype)
    assert float(functional.amplify(one, limit)) < 1 == float(functional.amplify(one, limit + 1))


def test_max_safe_L_accepts_numpy_types_and_refuses_integers():
    assert max_safe_L() == max_safe_L("float64") == max_safe_L(np.float64) == max_safe_L(np.dtype(float)) == 73
    assert (max_safe_L(np.float32), max_safe_L(torch.float16), max_safe_L(torch.bfloat16)) == (33, 15, 11)
    for dtype in (torch.int64, int, "nonsense", None):
        if dtype is None:
            continue  # numpy reads None as float64
        with pytest.raises(TypeError, match="floating-point type"):
            max_safe_L(dtype)


# --- SOL ------------------------------------------------------------------------------------------------------------


def test_sol_with_a_logistic_threshold_is_anyloss(batch):
    for kwargs in SIX.values():
        sol = SOLLoss(kwargs["metric"], "logistic", 0.5, 1 / 73, beta=kwargs.get("beta", 1.0))
        assert float(sol(*batch)) == pytest.approx(float(AnyLoss(**kwargs)(*batch)), abs=1e-12)


@pytest.mark.parametrize("distribution", ["cosine", "uniform", "logistic"])
def test_sol_decision_is_the_cdf_of_its_density(distribution):
    density = {
        "cosine": lambda t: np.where(abs(t) < 1, (1 + np.cos(np.pi * t)) / 2, 0),
        "uniform": lambda t: np.where(abs(t) < 1, 0.5, 0),
        "logistic": lambda t: expit(t) * expit(-t),
    }[distribution]
    grid = np.linspace(-40, 40, 800_001)
    cdf = np.concatenate([[0], np.cumsum((density(grid[1:]) + density(grid[:-1])) / 2 * np.diff(grid))])
    p = np.linspace(0, 1, 41)
    ours = functional.threshold_cdf(torch.tensor(p), distribution, 0.4, 0.1).numpy()
    np.testing.assert_allclose(ours, np.interp((p - 0.4) / 0.1, grid, cdf), atol=1e-4)  # error of the quadrature at jumps


def test_sol_with_a_narrow_threshold_is_the_hard_metric(batch):
    p, y = batch
    expected = metrics.f1_score(y.numpy(), (p > 0.5).numpy())
    for distribution in ("cosine", "uniform", "logistic"):
        assert 1 - float(SOLLoss("f1", distribution, delta=1e-9)(p, y)) == pytest.approx(expected, abs=1e-9)


# --- symmetries -----------------------------------------------------------------------------------------------------


@six
def test_order_of_samples_does_not_matter(kwargs, batch):
    p, y = batch
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert float(AnyLoss(**kwargs)(p[order], y[order])) == pytest.approx(float(AnyLoss(**kwargs)(p, y)), abs=1e-13)


def test_swapping_classes_changes_only_fbeta(batch):
    p, y = batch
    for name, kwargs in SIX.items():
        loss = AnyLoss(**kwargs)
        same = float(loss(1 - p, 1 - y)) == pytest.approx(float(loss(p, y)), abs=1e-12)
        assert same is (not name.startswith("f"))


# --- inputs ---------------------------------------------------------------------------------------------------------


def test_labels_of_every_kind_and_both_shapes_give_one_value(batch):
    p, y = batch
    expected = float(AnyLoss()(p, y))
    for target in (y.bool(), y.int(), y.double(), y.float(), y.to(torch.uint8), 2 * y - 1, (2 * y - 1).float()):
        assert float(AnyLoss()(p, target)) == expected
    assert float(AnyLoss()(p[:, None], y[:, None])) == expected
    assert float(AnyLoss()(p.numpy(), y.numpy())) == expected
    assert float(AnyLoss(from_logits=True)(torch.logit(p), y)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_is_kept(dtype, batch):
    p, y = batch
    loss = AnyLoss("gmean", from_logits=True)(torch.logit(p).to(dtype), y)
    assert loss.dtype == dtype
    assert loss.shape == ()
    assert float(loss) == pytest.approx(float(AnyLoss("gmean")(p, y)), abs=1e-5)
    half = AnyLoss("gmean")(p.half(), y)
    assert half.dtype == torch.float32
    assert SOLLoss()(p.to(dtype), y).dtype == dtype


@pytest.mark.parametrize("make", [AnyLoss, SOLLoss])
def test_bad_batches_are_refused(make):
    loss, p, y = make(), torch.tensor([0.2, 0.8, 0.6]), torch.tensor([0, 1, 1])
    for a, b in ((p, y[:, None]), (p[:, None], y), (p, y[:2])):
        with pytest.raises(ValueError, match="must have one shape"):
            loss(a, b)
    with pytest.raises(ValueError, match=r"shape \(N,\) or \(N, 1\)"):
        loss(torch.rand(4, 2), torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"shape \(N,\) or \(N, 1\)"):
        loss(torch.tensor(0.5), torch.tensor(1))
    with pytest.raises(ValueError, match="no samples"):
        loss(torch.empty(0), torch.empty(0))
    for bad in (p + 1, p - 1, torch.tensor([-3.0, 0.2, 5.0])):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\].*from_logits"):
            loss(bad, y)
    with pytest.raises(ValueError, match="NaN"):
        loss(torch.tensor([0.2, float("nan"), 0.6]), y)
    with pytest.raises(ValueError, match="NaN"):
        make(from_logits=True)(torch.tensor([0.2, float("nan"), 0.6]), y)
    with pytest.raises(TypeError, match="floating point"):
        loss(y, y)


@pytest.mark.parametrize("bad", [[0, 1, 2], [0.0, 0.5, 1.0], [-1, 0, 1], [0.0, float("nan"), 1.0]])
def test_bad_labels_are_refused(bad):
    with pytest.raises(ValueError, match=r"labels 0/1, -1/\+1 or bool"):
        AnyLoss()(torch.tensor([0.2, 0.8, 0.6]), torch.tensor(bad))


@six
@pytest.mark.parametrize("label", [0, 1])
def test_a_batch_of_one_class_needs_eps(kwargs, label):
    p, y = torch.tensor([0.2, 0.8, 0.6], requires_grad=True), torch.full((3,), label)
    with pytest.raises(ValueError, match="needs both classes"):
        AnyLoss(**kwargs)(p, y)
    loss = AnyLoss(**kwargs, eps=1e-5)(p, y)
    loss.backward()
    assert 0 <= loss.item() <= 1
    assert torch.isfinite(p.grad).all()


def test_eps_vanishes_in_the_limit(batch):
    for kwargs in SIX.values():
        plain = float(AnyLoss(**kwargs)(*batch))
        assert float(AnyLoss(**kwargs, eps=1e-9)(*batch)) == pytest.approx(plain, abs=1e-9)
        assert float(AnyLoss(**kwargs, eps=1.0)(*batch)) > plain  # larger denominators, smaller score


@pytest.mark.parametrize("L", [0, -1.0, float("inf"), float("nan")])
def test_bad_L_is_refused_everywhere(L, batch):
    X, y, theta = design()
    calls = [
        lambda: AnyLoss(L=L),
        lambda: soft_confusion(*batch, L=L),
        lambda: functional.amplify(batch[0], L),
        lambda: slp_gradient("f1", X, y, theta, L),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="L must be a finite number above 0"):
            call()


def test_bad_arguments_are_refused(batch):
    with pytest.raises(ValueError, match=r"metric must be one of .*gmean.*'f3'"):
        AnyLoss("f3")
    with pytest.raises(TypeError, match="name or a callable"):
        AnyLoss(3)
    with pytest.raises(ValueError, match="use metric='fbeta'"):
        AnyLoss("f1", beta=2.0)
    with pytest.raises(ValueError, match="beta must be"):
        AnyLoss("fbeta", beta=-1.0)
    with pytest.raises(ValueError, match="eps must be"):
        AnyLoss(eps=-1e-3)
    with pytest.raises(TypeError, match="L must be"):
        AnyLoss(L="73")
    with pytest.raises(ValueError, match="distribution must be one of"):
        SOLLoss(distribution="normal")
    with pytest.raises(ValueError, match="delta must be"):
        SOLLoss(delta=0.0)
    with pytest.raises(ValueError, match="mu must be"):
        SOLLoss(mu=1.0)
    with pytest.raises(ValueError, match="metric must be finite: returned nan"):
        AnyLoss(lambda tp, fp, fn, tn: tp * float("nan"))(*batch)
    with pytest.raises(TypeError, match="0-dimensional tensor"):
        AnyLoss(lambda tp, fp, fn, tn: 0.5)(*batch)


def test_slp_gradient_refuses_bad_data():
    X, y, theta = design()
    for args in ((X[:, 0], y, theta), (X, y[:-1], theta), (X, y, theta[:-1]), (X, y[:, None], theta)):
        with pytest.raises(ValueError, match=r"need X \(n, d\)"):
            slp_gradient("f1", *args)
    with pytest.raises(ValueError, match="must be finite"):
        slp_gradient("f1", np.where(X > 1, np.nan, X), y, theta)
    with pytest.raises(ValueError, match="needs both classes"):
        slp_gradient("f1", X, 0 * y, theta)
    with pytest.raises(TypeError, match="torch operations"):
        slp_gradient(lambda tp, fp, fn, tn: 1.0, X, y, theta)
    assert np.array_equal(slp_gradient("f1", X, 2 * y - 1, theta), slp_gradient("f1", X, y.astype(bool), theta))


# --- as a module ----------------------------------------------------------------------------------------------------


def test_a_custom_score_trains_without_nan():
    X, y, _ = design(5, n=200)
    model = torch.nn.Linear(3, 1, dtype=torch.float64)
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    loss, optimizer = AnyLoss(functional.mcc, from_logits=True), torch.optim.SGD(model.parameters(), lr=0.01)
    target, values = torch.tensor(y)[:, None], []
    for _ in range(200):
        optimizer.zero_grad()
        value = loss(model(torch.tensor(X[:, 1:])), target)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert np.isfinite(values).all()
    assert values[-1] < values[0] - 0.1


def test_losses_describe_themselves():
    assert repr(AnyLoss("fbeta", beta=2.0)) == "AnyLoss(metric=fbeta, beta=2.0, L=73.0, from_logits=False, eps=0.0)"
    assert "distribution=cosine" in repr(SOLLoss())
    assert "metric=mcc" in repr(AnyLoss(functional.mcc))


def top_heavy(tp, fp, fn, tn):
    return tp / (tp + 3 * fp + fn)


@pytest.mark.parametrize("loss", [AnyLoss("f1"), AnyLoss("fbeta", beta=2.0), AnyLoss(top_heavy), SOLLoss("mcc")], ids=repr)
def test_losses_survive_pickling_and_saving(loss, batch):
    buffer = io.BytesIO()
    torch.save(loss, buffer)
    buffer.seek(0)
    for again in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), torch.load(buffer, weights_only=False)):
        assert float(again(*batch)) == float(loss(*batch))
        assert repr(again) == repr(loss)


def test_settings_changed_after_construction_count(batch):
    loss = AnyLoss("f1")
    loss.metric = "f2"
    assert float(loss(*batch)) == float(AnyLoss("f2")(*batch))
    loss.L = 10
    assert float(loss(*batch)) == float(AnyLoss("f2", L=10.0)(*batch))
    for name, bad in [("metric", "f3"), ("beta", 2.0), ("L", -1.0), ("eps", float("nan")), ("from_logits", 1), ("check", None)]:
        with pytest.raises((ValueError, TypeError), match=name):
            setattr(loss, name, bad)
    assert float(loss(*batch)) == float(AnyLoss("f2", L=10.0)(*batch))


def test_metrics_are_known_by_name_in_any_case(batch):
    assert float(AnyLoss("F1")(*batch)) == float(AnyLoss("f1")(*batch))
    for name in ("mcc", "jaccard"):
        assert float(AnyLoss(name)(*batch)) == float(AnyLoss(getattr(functional, name))(*batch))
        X, y, theta = design(6)
        closed = slp_gradient(name, X, y, theta, 10.0)
        np.testing.assert_allclose(closed, autograd_gradient(AnyLoss(name, L=10.0), X, y, theta), rtol=1e-10, atol=1e-14)


def test_the_papers_constants_are_the_defaults():
    assert (AnyLoss().L, AnyLoss().metric, AnyLoss().beta, AnyLoss().eps) == (73.0, "f1", 1.0, 0.0)
    assert (SOLLoss().distribution, SOLLoss().mu, SOLLoss().delta) == ("cosine", 0.5, 0.1)


def test_weights_count_samples(batch):
    p, y = batch
    weight = torch.arange(300) % 3
    repeated = torch.repeat_interleave(torch.arange(300), weight)
    for name in ("f1", "gmean", "accuracy", "mcc"):
        expected = float(AnyLoss(name)(p[repeated], y[repeated]))
        assert float(AnyLoss(name)(p, y, weight)) == pytest.approx(expected, rel=1e-12)
    assert float(sum(soft_confusion(p, y, weight=weight))) == pytest.approx(float(weight.sum()))
    for bad in (-weight, weight + float("nan")):
        with pytest.raises(ValueError, match="weight must be finite"):
            AnyLoss()(p, y, bad)
    with pytest.raises(ValueError, match="weight must have the shape"):
        AnyLoss()(p, y, weight[:3])
    with pytest.raises(ValueError, match="needs both classes"):
        AnyLoss()(p, y, (y == 0).double())


def test_without_checks_the_core_can_be_mapped_and_differentiated_by_torch_func(batch):
    p, y = batch
    stacked = torch.stack([p, p.flip(0), 1 - p])
    mapped = torch.func.vmap(lambda row: functional.any_loss(row, y, "gmean", check=False))(stacked)
    expected = [float(AnyLoss("gmean")(row, y)) for row in stacked]
    np.testing.assert_allclose(mapped, expected, rtol=1e-12)
    gradient = torch.func.grad(lambda q: AnyLoss("f1", check=False)(q, y))(p)
    leaf = p.clone().requires_grad_()
    AnyLoss("f1")(leaf, y).backward()
    torch.testing.assert_close(gradient, leaf.grad)


def test_compiles_without_a_break(batch):
    loss = AnyLoss("f1", from_logits=True)
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    logits = torch.logit(batch[0])
    assert float(compiled(logits, batch[1])) == pytest.approx(float(loss(logits, batch[1])), rel=1e-12)


def test_values_are_read_once_per_call(batch, monkeypatch):
    reads = []
    for name in ("item", "tolist", "__bool__", "__float__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, _f=original, _n=name: (reads.append(_n), _f(self))[1])
    for target in (batch[1], batch[1].bool(), 2.0 * batch[1] - 1):
        AnyLoss("gmean")(batch[0], target)
    assert reads == ["tolist"] * 3


def test_input_is_left_alone_and_half_precision_logits_are_widened_first(batch):
    p, y = batch
    before = p.clone()
    AnyLoss()(p, y)
    assert torch.equal(p, before)
    logits = torch.logit(p).half()
    assert float(AnyLoss(from_logits=True)(logits, y)) == float(AnyLoss(from_logits=True)(logits.float(), y))
    with pytest.raises(TypeError, match="floating point"):
        AnyLoss()(p.to(torch.complex64), y)
