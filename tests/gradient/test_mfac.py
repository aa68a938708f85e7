"""The static and the dynamic inverse: dense algebra is the oracle."""

import copy
import pickle

import numpy as np
import pytest
import torch

from lib.gradient.mfac import DAMP, DynamicFisherInverse, StaticFisherInverse, rank_one_vectors, window_factors


@pytest.fixture
def gen():
    return torch.Generator().manual_seed(5)


def draw(gen, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=gen, dtype=dtype)


def dense_inverse(G, damp, m=None):
    """The inverse, formed and inverted."""
    d = G.shape[1]
    F = damp * torch.eye(d, dtype=torch.float64) + G.double().T @ G.double() / (m or len(G))
    return torch.linalg.inv(F)


def error(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


# The static algorithm


@pytest.mark.parametrize(("damp", "tolerance"), [(1e-5, 1e-9), (1e-2, 1e-12), (10.0, 1e-13)])
@pytest.mark.parametrize(("m", "d"), [(5, 30), (40, 12), (1, 7), (6, 1)])
def test_products_diagonal_and_elements_are_those_of_the_dense_inverse(gen, m, d, damp, tolerance):
    G, x = draw(gen, m, d), draw(gen, d)
    inverse, dense = StaticFisherInverse(G, damp), dense_inverse(G, damp)
    F = damp * torch.eye(d, dtype=torch.float64) + G.T @ G / m
    assert error(inverse.mul(x), torch.linalg.solve(F, x)) < tolerance
    assert error(inverse.diag(), dense.diagonal()) < tolerance
    elements = torch.tensor([[inverse.element(i, j) for j in range(d)] for i in range(d)], dtype=torch.float64)
    assert error(elements, dense) < tolerance
    torch.testing.assert_close(elements, elements.T, rtol=1e-12, atol=0)


def test_woodbury_is_a_second_oracle(gen):
    G, x, damp, m = draw(gen, 8, 200), draw(gen, 200), 1e-3, 8
    c = 1 / damp
    expected = c * x - c**2 * G.T @ torch.linalg.solve(m * torch.eye(m, dtype=torch.float64) + c * G @ G.T, G @ x)
    assert error(StaticFisherInverse(G, damp).mul(x), expected) < 1e-11


def test_one_gradient_in_closed_form(gen):
    g, x, damp = draw(gen, 9), draw(gen, 9), 0.03
    expected = x / damp - g * (g @ x) / damp**2 / (1 + g @ g / damp)
    assert error(StaticFisherInverse(g[None], damp).mul(x), expected) < 1e-13


def test_vectors_are_products_with_the_partial_sums(gen):
    G, damp, m = draw(gen, 6, 10), 0.1, 6
    V, q = rank_one_vectors(G, damp)
    for i in range(m):
        before = dense_inverse(G[:i], damp, m) if i else torch.eye(10, dtype=torch.float64) / damp
        assert error(V[i], before @ G[i]) < 1e-11
        assert float(q[i]) == pytest.approx(m + float(G[i] @ before @ G[i]), rel=1e-11)


@pytest.mark.parametrize("B", [1, 2, 4, 7, 10, 11, 100])
def test_blocks_are_dense_inverses_of_blocks(gen, B):
    G, x, damp = draw(gen, 5, 10), draw(gen, 10), 1e-3
    F = damp * torch.eye(10, dtype=torch.float64) + G.T @ G / 5
    block = torch.arange(10) // B
    dense = torch.linalg.inv(F * (block[:, None] == block[None]))
    inverse = StaticFisherInverse(G, damp, B)
    assert error(inverse.mul(x), dense @ x) < 1e-10
    assert error(inverse.diag(), dense.diagonal()) < 1e-10
    elements = torch.tensor([[inverse.element(i, j) for j in range(10)] for i in range(10)], dtype=torch.float64)
    assert error(elements, dense) < 1e-10


def test_blocks_of_one_are_the_damped_diagonal(gen):
    G, damp = draw(gen, 12, 6), 1e-4
    torch.testing.assert_close(StaticFisherInverse(G, damp, 1).diag(), 1 / (damp + (G**2).mean(0)), rtol=1e-8, atol=0)


def test_stacked_blocks_are_treated_one_by_one(gen):
    G = draw(gen, 3, 4, 5)
    V, q = rank_one_vectors(G, 0.1)
    for k in range(3):
        torch.testing.assert_close((V[k], q[k]), rank_one_vectors(G[k], 0.1), rtol=1e-13, atol=1e-13)


def test_order_of_the_gradients_does_not_matter(gen):
    G, x = draw(gen, 20, 50), draw(gen, 50)
    shuffled = G[torch.randperm(20, generator=gen)]
    a, b = StaticFisherInverse(G, 1e-4), StaticFisherInverse(shuffled, 1e-4)
    assert error(b.mul(x), a.mul(x)) < 1e-9
    assert error(b.diag(), a.diag()) < 1e-9


def test_large_damping_is_plain_gradient(gen):
    G, x = draw(gen, 7, 11), draw(gen, 11)
    assert error(StaticFisherInverse(G, 1e6).mul(x), x / 1e6) < 1e-5
    window = DynamicFisherInverse(7, 11, 1e6, torch.float64)
    for g in G:
        window.update(g)
    assert error(window.mul(x), x / 1e6) < 1e-5


def test_float32_follows_the_input_and_is_close(gen):
    G, x = draw(gen, 32, 60, dtype=torch.float32), draw(gen, 60, dtype=torch.float32)
    inverse = StaticFisherInverse(G, 1e-5)
    assert inverse.mul(x).dtype == inverse.diag().dtype == torch.float32
    assert error(inverse.mul(x), dense_inverse(G, 1e-5) @ x.double()) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_accumulates_in_float32(gen, dtype):
    G, x = draw(gen, 8, 30).to(dtype), draw(gen, 30).to(dtype)
    found = StaticFisherInverse(G, 0.1).mul(x)
    assert found.dtype == torch.float32
    assert error(found, dense_inverse(G, 0.1) @ x.double()) < 1e-5
    window = DynamicFisherInverse(8, 30, 0.1)
    for g in G:
        window.update(g)
    assert error(window.mul(x), dense_inverse(G, 0.1) @ x.double()) < 1e-5


def test_numpy_and_lists_are_taken(gen):
    G = draw(gen, 3, 4)
    for form in (G.numpy(), G.tolist()):
        torch.testing.assert_close(
            StaticFisherInverse(form, 0.1).mul([1, 0, 0, 0]), StaticFisherInverse(G, 0.1).mul(G.new_tensor([1, 0, 0, 0]))
        )


def test_default_damping_is_the_authors():
    assert DAMP == 1e-5
    assert StaticFisherInverse([[1.0]]).damp == 1e-5
    assert DynamicFisherInverse(1, 1).damp == 1e-5


def test_a_diagonal_that_rounding_ruined_is_an_error():
    G = 1e4 * torch.ones(4, 3, dtype=torch.float32)
    with pytest.raises(FloatingPointError, match="damp"):
        StaticFisherInverse(G, 1e-8, block_size=1).diag()


def test_gradients_of_zero_leave_the_damping(gen):
    inverse = StaticFisherInverse(torch.zeros(3, 4), 0.5)
    torch.testing.assert_close(inverse.mul(torch.ones(4)), 2 * torch.ones(4))


# The dynamic algorithm


def filled(G, m, damp=1e-4, dtype=torch.float64):
    window = DynamicFisherInverse(m, G.shape[1], damp, dtype)
    for g in G:
        window.update(g)
    return window


@pytest.mark.parametrize("n", [1, 3, 7, 8, 21, 24])
def test_window_is_the_static_inverse_of_its_last_gradients(gen, n):
    m, d, damp = 8, 20, 1e-4
    G, x = draw(gen, n, d), draw(gen, d)
    window = filled(G, m, damp)
    last = torch.cat([torch.zeros(max(m - n, 0), d, dtype=torch.float64), G[-m:]])
    assert error(window.mul(x), StaticFisherInverse(last, damp).mul(x)) < 1e-9
    assert error(window.mul(x), dense_inverse(last, damp) @ x) < 1e-9
    assert window.filled == min(n, m)


@pytest.mark.parametrize("n", [0, 2, 5, 17])
def test_update_then_multiply_is_the_same_as_both(gen, n):
    G, g = draw(gen, n, 12), draw(gen, 12)
    one, two = filled(G, 5), filled(G, 5)
    two.update(g)
    torch.testing.assert_close(one.update_mul(g), two.mul(g), rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(one.S, two.S)


def test_first_product_from_an_empty_window(gen):
    g, m, damp = draw(gen, 30), 16, 1e-5
    expected = g / (damp + g @ g / m)
    assert error(DynamicFisherInverse(m, 30, damp, torch.float64).update_mul(g), expected) < 1e-9
    assert error(DynamicFisherInverse(m, 30, damp).update_mul(g), expected) < 1e-6


def test_large_gradients_keep_their_digits_in_float32(gen):
    # c x and what is taken from it are 1e6 times their difference here; the form without cancellation does not care
    G = 30 * draw(gen, 12, 40, dtype=torch.float32)
    window = DynamicFisherInverse(12, 40, 1e-6)
    for g in G[:-1]:
        window.update(g)
    assert error(window.update_mul(G[-1]), dense_inverse(G, 1e-6) @ G[-1].double()) < 1e-3


def test_an_empty_window_divides_by_the_damping():
    torch.testing.assert_close(DynamicFisherInverse(3, 2, 0.25).mul(torch.ones(2)), 4 * torch.ones(2))


def test_factors_are_what_the_paper_defines(gen):
    m, d, damp = 6, 15, 0.01
    G = draw(gen, m, d)
    V, q = rank_one_vectors(G, damp)
    D, B = window_factors(G @ G.T, damp)
    torch.testing.assert_close(D, (V @ G.T).triu(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(B @ G, V, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(m + D.diagonal(), q, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(B.diagonal(), torch.full((m,), 1 / damp, dtype=torch.float64))
    S, c = G @ G.T, 1 / damp
    for i in range(m):  # the recursions, entry by entry
        for j in range(i, m):
            d_ij = c * S[i, j] - sum(D[k, i] * D[k, j] / (m + D[k, k]) for k in range(i))
            assert float(D[i, j]) == pytest.approx(float(d_ij), rel=1e-8)
        for k in range(i):
            b_ik = -sum(D[j, i] / (m + D[j, j]) * B[j, k] for j in range(k, i))
            assert float(B[i, k]) == pytest.approx(float(b_ik), rel=1e-7)


def test_upper_factor_is_that_of_lu_without_pivoting(gen):
    m, damp = 5, 0.1
    S = (lambda G: G @ G.T)(draw(gen, m, 9))
    U = m * np.eye(m) + S.numpy() / damp
    for k in range(m):  # Gaussian elimination
        for i in range(k + 1, m):
            U[i] -= U[i, k] / U[k, k] * U[k]
    np.testing.assert_allclose(window_factors(S, damp)[0] + m * torch.eye(m), U, rtol=1e-10, atol=1e-10)


def test_a_window_goes_on_from_its_state_as_if_never_stopped(gen):
    G = draw(gen, 13, 9)
    window = filled(G[:7], 4)
    saved = window.state_dict()
    again = DynamicFisherInverse(4, 9, 1.0, torch.float64)
    again.load_state_dict(saved)
    copies = [again, copy.deepcopy(window), pickle.loads(pickle.dumps(window))]
    for g in G[7:]:
        expected = window.update_mul(g)
        for other in copies:
            assert torch.equal(other.update_mul(g), expected)
    with pytest.raises(ValueError, match="saved window"):
        DynamicFisherInverse(3, 9).load_state_dict(saved)


def test_gram_matrix_that_float32_left_indefinite_is_taken_again(gen):
    G = draw(gen, 6, 10, dtype=torch.float32)
    window = filled(G, 6, 1e-5, torch.float32)
    window.S[2, 3] = window.S[3, 2] = 100 * window.S.diagonal().max()
    assert error(window.mul(torch.ones(10)), dense_inverse(G, 1e-5) @ torch.ones(10).double()) < 1e-3


def test_gradients_that_overflow_leave_the_window_as_it_was():
    window = DynamicFisherInverse(3, 2, 1e-5, torch.float64)
    window.update([1.0, 2.0])
    before = window.state_dict()
    with pytest.raises(FloatingPointError, match="damp"):
        window.update_mul([1e200, 1e200])
    after = window.state_dict()
    assert all(torch.equal(before[k], after[k]) for k in ("G", "S"))
    assert before["n_updates"] == after["n_updates"]


# Bad input


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: StaticFisherInverse(torch.ones(3)), "grads"),
        (lambda: StaticFisherInverse(torch.ones(2, 2), 0.0), "damp"),
        (lambda: StaticFisherInverse(torch.ones(2, 2), block_size=0), "block_size"),
        (lambda: StaticFisherInverse(torch.tensor([[1.0, torch.nan]])), "grads"),
        (lambda: StaticFisherInverse(torch.ones(2, 2)).mul(torch.ones(3)), "x must have d = 2"),
        (lambda: StaticFisherInverse(torch.ones(2, 2)).element(0, 2), "j must be"),
        (lambda: StaticFisherInverse(torch.ones(2, 2)).element(-1, 0), "i must be"),
        (lambda: DynamicFisherInverse(0, 2), "m must be"),
        (lambda: DynamicFisherInverse(2, 0), "d must be"),
        (lambda: DynamicFisherInverse(2, 2, dtype=torch.float16), "dtype"),
        (lambda: DynamicFisherInverse(2, 2).update(torch.ones(3)), "g must have d = 2"),
        (lambda: DynamicFisherInverse(2, 2).mul(torch.tensor([1.0, torch.inf])), "x must be finite"),
        (lambda: window_factors(torch.ones(2, 3)), "gram"),
        (lambda: window_factors(torch.tensor([[1.0, 2.0], [3.0, 1.0]])), "gram"),
        (lambda: window_factors(-1e6 * torch.eye(2)), "gram"),
        (lambda: rank_one_vectors(torch.ones(3)), "grads"),
    ],
)
def test_bad_input_is_refused_by_name(call, match):
    with pytest.raises((TypeError, ValueError), match=match):
        call()


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6])
def test_blocks_of_one_weight_follow_the_recursion(scale):
    G = scale * torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inverse = StaticFisherInverse(G, 1e-5, 1)
    for i in range(5):
        V, q = rank_one_vectors(torch.stack([G[:, i], torch.zeros(7, dtype=torch.float64)], 1), 1e-5)
        torch.testing.assert_close(inverse.V[i, :, 0], V[:, 0], rtol=1e-6, atol=0)
        torch.testing.assert_close(inverse.q[i], q, rtol=1e-6, atol=0)
    torch.testing.assert_close(inverse.diag(), 1 / (1e-5 + (G**2).mean(0)), rtol=1e-6, atol=0)


def test_products_that_overflow_are_refused():
    big = torch.full((2, 2), 1e20)
    for call in (rank_one_vectors, StaticFisherInverse, lambda G: StaticFisherInverse(G, block_size=1)):
        with pytest.raises(FloatingPointError, match="overflow"):
            call(big)
    window = DynamicFisherInverse(2, 2, damp=1e-40)
    with pytest.raises(FloatingPointError, match="overflow"):
        window.update_mul([1e-25, 0.0])
    assert window.n_updates == 0
    assert not window.S.any()


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_damping_that_is_set_later_is_checked_too(bad):
    window = DynamicFisherInverse(2, 2)
    with pytest.raises(ValueError, match="damp"):
        window.damp = bad
    assert window.damp == 1e-5


def test_a_product_with_a_vector_too_large_for_its_type_is_refused():
    """With 1 / damp = 1e5 a float32 vector of 1e36 has no finite product: an infinity would be a silent one."""
    G = torch.eye(2, 3)
    window = DynamicFisherInverse(2, 3)
    for inverse in (StaticFisherInverse(G), window):
        for _ in range(2):
            with pytest.raises(FloatingPointError, match="overflow"):
                inverse.mul(torch.full((3,), 1e36))
        assert torch.isfinite(inverse.mul(torch.ones(3))).all()
        window.update(G[0])
