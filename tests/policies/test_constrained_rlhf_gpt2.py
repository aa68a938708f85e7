"""Constrained PPO of a GPT-2 of `transformers`: two layers, random weights from a configuration, a local tokenizer of words.

Nothing is downloaded. Seen to pass with transformers 5.24.0 and 4.57.1, tokenizers 0.23.3 and 0.22.2, torch 2.13.0. The
package is no dependency: without it these tests are skipped.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

from lib.networks import generate, response_log_probs
from lib.policies import constrained_rlhf as cr
from lib.policies.constrained_rlhf.language_models import LanguageModel

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

WORDS = ["<pad>", "<end>", "<unk>", "the", "a", "dog", "cat", "sees", "likes", "runs", "sleeps", "and"]


@pytest.fixture(scope="module")
def tokenizer():
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=model, **names)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    return [tokenizer.encode(text) for text in ("the dog sees", "a cat", "the cat likes a dog")]


def gpt2(dropout=0.1):
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2, "initializer_range": 0.5}
    ends = {"bos_token_id": 1, "eos_token_id": 1, "attn_pdrop": dropout, "resid_pdrop": dropout, "embd_pdrop": dropout}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **ends)).double()


def trainer(tokenizer, policy, **changes):
    def cats(prompts, responses, references):
        return [float("cat" in tokenizer.decode(response)) for response in responses]

    def even(prompts, responses, references):
        return [np.mean([token % 2 == 0 for token in response] or [0.0]) for response in responses]

    def short(prompts, responses, references):
        return 1 - np.array([len(response) for response in responses]) / 6

    own = {"episodes": 16, "minibatch": 8, "epochs": 2, "lr": 1e-3, "max_new": 6, "min_new": 1, "top_k": None}
    config, models = cr.PPOConfig(**(own | changes)), [even, short, cats]
    ends = {"end": tokenizer.eos_token_id, "pad": tokenizer.pad_token_id}
    return cr.ConstrainedPPO(policy, models, [0.6, 0.5, 0.4], "xi", config, **ends, seed=0)


def test_states_and_scores_are_those_of_the_model(prompts):
    model = gpt2()
    policy = LanguageModel(model)
    assert (policy.vocab_size, policy.width) == (len(WORDS), 16)
    tokens = torch.tensor([prompts[2]])
    with torch.no_grad():
        torch.testing.assert_close(policy.logits(policy.states(tokens)), model(input_ids=tokens).logits)


def test_drawn_with_the_cache_and_padding_as_judged_in_one_piece(prompts):
    policy = LanguageModel(gpt2())
    drawn = generate(policy, prompts * 5, 6, end=1, pad=0, seed=0)
    assert len(set(map(int, drawn.lengths))) > 1
    torch.testing.assert_close(response_log_probs(policy, drawn)[0].detach(), drawn.log_probs, rtol=0, atol=1e-9)
    alone = generate(policy, prompts[1:2], 6, end=1, pad=0, temperature=0.0)
    padded = generate(policy, prompts, 6, end=1, pad=0, temperature=0.0)
    n = int(alone.lengths[0])
    assert alone.responses[0, :n].equal(padded.responses[1, :n])


def test_three_rewards_are_trained_with_four_value_heads(tokenizer, prompts):
    model = gpt2()
    before = copy.deepcopy(model.state_dict())
    run = trainer(tokenizer, LanguageModel(model), lr=1e-2)
    history = run.fit(prompts, iterations=3)
    assert history.array("values").shape == (3, 3)
    assert abs(history.kl[0]) < 1e-12  # dropout is off, and the base policy is at its reference
    assert history.kl[-1] != 0
    assert run.policy.value_heads.weight.shape == (4, 16)
    assert float(run.policy.value_heads.weight.detach().abs().sum()) > 0
    assert run.policy.model.lm_head.weight is run.policy.model.transformer.wte.weight
    assert not torch.equal(run.policy.model.transformer.wte.weight, before["transformer.wte.weight"])
    for key, value in model.state_dict().items():  # the model that was given is left alone
        assert torch.equal(value, before[key])


def test_a_run_goes_on_alike_after_a_copy_or_a_pickle(prompts):
    policy = LanguageModel(gpt2())
    run = cr.ConstrainedPPO(policy, _lengths, [0.4], "mu", _small(), end=1, pad=0, seed=0)
    run.fit(prompts, iterations=1)
    again = [copy.deepcopy(run), pickle.loads(pickle.dumps(run))]
    wanted = run.fit(prompts, iterations=1)
    for other in again:
        found = other.fit(prompts, iterations=1)
        np.testing.assert_array_equal(found.array("values"), wanted.array("values"))
        np.testing.assert_array_equal(found.array("kl"), wanted.array("kl"))


def _small():
    return cr.PPOConfig(episodes=8, minibatch=4, epochs=1, lr=1e-3, max_new=5, min_new=1, top_k=5)


def _lengths(prompts, responses, references):
    return [len(response) / 5 for response in responses]
