"""Samples: their probabilities, their ends, what does not change them."""

import numpy as np
import pytest
import torch

from lib.networks import Transformer, fit_supervised, generate, response_log_probs

END, PAD = 9, 0
PROMPTS = [[1, 2, 3], [4], [5, 6]]


@pytest.fixture
def model():
    made = Transformer(vocab_size=10, context=12, width=16, n_heads=2, seed=3).double()
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(5.0)
    return made


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_log_probabilities_of_draws_are_those_of_a_whole_pass(model, temperature):
    drawn = generate(model, PROMPTS * 4, 8, end=END, pad=PAD, temperature=temperature, seed=0)
    again, states = response_log_probs(model, drawn, temperature)
    torch.testing.assert_close(again.detach(), drawn.log_probs, rtol=1e-9, atol=1e-9)
    assert states.shape == (*drawn.responses.shape, 16)
    again.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    rows, _ = response_log_probs(model, drawn, temperature, rows=[2, 5])
    torch.testing.assert_close(rows, again[[2, 5]], rtol=1e-9, atol=1e-9)


def test_shares_of_draws_are_the_probabilities(model):
    n = 4000
    drawn = generate(model, [[1, 2, 3]] * n, 1, end=END, pad=PAD, seed=1).responses[:, 0]
    expected = model(torch.tensor([[1, 2, 3]]))[0, -1].detach()
    expected[PAD] = -torch.inf
    expected = expected.softmax(0).numpy()
    found = np.bincount(drawn.numpy(), minlength=10) / n
    assert (np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / n) + 1e-12).all()


def test_responses_end_at_the_end_token_and_are_padded(model):
    drawn = generate(model, PROMPTS * 30, 8, end=END, pad=PAD, seed=2)
    assert len(set(drawn.lengths.tolist())) > 3
    for row, mask, logs in zip(drawn.responses, drawn.mask, drawn.log_probs, strict=True):
        n = int(mask.sum())
        assert mask[:n].all()
        assert (row[:n] != PAD).all()
        assert (row[n:] == PAD).all()
        assert (row[: n - 1] != END).all()
        assert row[n - 1] == END or n == 8
        assert not logs[n:].any()
    longer = generate(model, PROMPTS * 30, 8, end=END, pad=PAD, min_new=5, seed=2)
    assert int(longer.lengths.min()) >= 5
    assert 5 in longer.lengths.tolist()


def test_greedy_and_top_k(model):
    greedy = generate(model, PROMPTS, 6, end=END, pad=PAD, temperature=0)
    best = generate(model, PROMPTS, 6, end=END, pad=PAD, top_k=1, seed=3)
    assert (greedy.tokens == best.tokens).all()
    for prompt, row in zip(PROMPTS, greedy.responses, strict=True):
        scores = model(torch.tensor([prompt]))[0, -1].detach()
        scores[PAD] = -torch.inf
        assert int(scores.argmax()) == int(row[0])
    few = generate(model, [[1]] * 500, 1, end=END, pad=PAD, top_k=3, seed=3).responses
    scores = model(torch.tensor([[1]]))[0, -1].detach()
    scores[PAD] = -torch.inf
    assert set(few.flatten().tolist()) == set(scores.topk(3).indices.tolist())


def test_a_response_that_must_not_end_yet_has_the_probabilities_of_the_policy(model):
    drawn = generate(model, PROMPTS * 10, 8, end=END, pad=PAD, min_new=5, seed=2)
    torch.testing.assert_close(response_log_probs(model, drawn)[0].detach(), drawn.log_probs, rtol=1e-9, atol=1e-9)


def test_the_coldest_draw_is_the_best_token(model):
    greedy = generate(model, PROMPTS, 6, end=END, pad=PAD, temperature=0)
    coldest = generate(model, PROMPTS, 6, end=END, pad=PAD, temperature=5e-324, seed=0)
    assert coldest.tokens.equal(greedy.tokens)
    assert not coldest.log_probs.isnan().any()


def test_a_response_depends_on_its_row_alone(model):
    """Not on the padding of its prompt, nor on when others end."""
    drawn = generate(model, [[4]], 8, end=END, pad=PAD, seed=4)
    beside = generate(model, [[4], [1, 2, 3]], 8, end=END, pad=PAD, seed=4)
    assert generate(model, [[4]], 8, end=END, pad=PAD, seed=4).tokens.equal(drawn.tokens)
    first = np.random.default_rng(4).random((8, 1))
    assert first.shape == (8, 1)
    # The draws of a row are a column: the same row of one batch keeps its draws whatever the other prompts are.
    other = generate(model, [[4], [7]], 8, end=END, pad=PAD, seed=4)
    n = min(beside.responses.shape[1], other.responses.shape[1])
    assert beside.responses[0, :n].equal(other.responses[0, :n])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"prompts": [[1], []]}, "prompts"),
        ({"prompts": []}, "prompts"),
        ({"max_new": 0}, "max_new"),
        ({"end": 10}, "end"),
        ({"pad": END}, "pad"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"prompts": [[1] * 10]}, "context"),
    ],
)
def test_bad_settings_are_named(model, change, word):
    with pytest.raises(ValueError, match=word):
        generate(**({"model": model, "prompts": [[1]], "max_new": 6, "end": END, "pad": PAD, "seed": 0} | change))


def test_supervised_training_learns_a_copy_and_is_reproducible():
    texts = [[a, b] for a in range(1, 6) for b in range(1, 6)]
    answers = [[*text, END] for text in texts]
    runs = []
    for _ in range(2):
        model = Transformer(vocab_size=10, context=8, width=32, n_heads=2, seed=0)
        losses = fit_supervised(model, texts, answers, steps=250, batch=32, lr=1e-2, seed=0)
        runs.append((losses, generate(model, texts, 4, end=END, pad=PAD, temperature=0).responses))
    assert (runs[0][0] == runs[1][0]).all()
    assert [row[:3].tolist() for row in runs[0][1]] == answers
    assert runs[0][0][-1] < 0.1
    with pytest.raises(ValueError, match="responses"):
        fit_supervised(model, texts, answers[1:], steps=1)
