"""The transformer against torch's own layers, its cache against whole passes, padding against none."""

import copy
import pickle

import pytest
import torch

from lib.networks import Cache, Transformer


@pytest.fixture
def model():
    """With weights of order one, so that mistakes show."""
    made = Transformer(vocab_size=11, context=12, width=16, n_layers=2, n_heads=4, n_values=2, seed=3).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    return made


def tokens_of(*shape):
    return torch.randint(0, 11, shape, generator=torch.Generator().manual_seed(2))


def test_blocks_are_torchs_encoder_layers_with_a_causal_mask(model):
    tokens = tokens_of(3, 7)
    x = model.tokens.weight[tokens] + model.positions.weight[:7]
    causal = torch.nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64)
    for block in model.blocks:
        layer = torch.nn.TransformerEncoderLayer(
            16, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
        )
        pairs = {
            "self_attn.in_proj_": block.qkv, "self_attn.out_proj.": block.out, "linear1.": block.mlp[0],
            "linear2.": block.mlp[2], "norm1.": block.norm_attention, "norm2.": block.norm_mlp,
        }  # fmt: skip
        layer.load_state_dict(
            {f"{name}{kind}": getattr(own, kind) for name, own in pairs.items() for kind in ("weight", "bias")}
        )
        x = layer(x, src_mask=causal)
    expected = model.norm(x) @ model.tokens.weight.T
    torch.testing.assert_close(model(tokens), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("parts", [[9], [1] * 9, [4, 1, 3, 1]])
def test_cached_passes_are_the_whole_pass(model, parts):
    tokens, cache = tokens_of(2, 9), Cache()
    found = torch.cat([model.states(part, cache=cache) for part in tokens.split(parts, 1)], 1)
    torch.testing.assert_close(found, model.states(tokens), rtol=1e-10, atol=1e-10)
    assert cache.length == 9


def test_padding_changes_nothing(model):
    tokens = tokens_of(1, 5)
    for width in (5, 6, 9):
        left = torch.zeros(1, width, dtype=torch.long)
        attended = torch.zeros(1, width, dtype=torch.bool)
        left[:, width - 5 :], attended[:, width - 5 :] = tokens, True
        torch.testing.assert_close(model(left, attended)[:, width - 5 :], model(tokens), rtol=1e-10, atol=1e-10)
        right, seen = left.roll(5 - width, 1), attended.roll(5 - width, 1)
        torch.testing.assert_close(model(right, seen)[:, :5], model(tokens), rtol=1e-10, atol=1e-10)


def test_a_token_sees_none_that_follow(model):
    tokens = tokens_of(1, 6)
    other = tokens.clone()
    other[0, 4] = (other[0, 4] + 1) % 11
    same = (model(tokens) == model(other)).all(2)[0]
    assert same[:4].all()
    assert not same[4:].any()


def test_gradients_reach_every_weight_and_are_finite_beside_padding(model):
    attended = torch.tensor([[False, False, True, True], [True, True, True, True]])
    states = model.states(tokens_of(2, 4), attended)
    (model.logits(states).logsumexp(2).sum() + model.values(states).square().sum()).backward()
    for name, weight in model.named_parameters():
        assert torch.isfinite(weight.grad).all(), name
        assert weight.grad.any(), name


def test_start_is_that_of_gpt_2():
    model = Transformer(200, 50, n_values=3, seed=0)
    assert abs(float(model.tokens.weight.detach().std()) - 0.02) < 1e-3
    assert abs(float(model.blocks[0].out.weight.detach().std()) - 0.01) < 1e-3  # 0.02 / sqrt(2 * 2 layers)
    assert not model.value_heads.weight.any()
    assert not model.blocks[1].qkv.bias.any()
    assert (Transformer(200, 50, n_values=3, seed=0).tokens.weight == model.tokens.weight).all()
    assert (Transformer(200, 50, n_values=3, seed=1).tokens.weight != model.tokens.weight).any()
    assert sum(p.numel() for p in Transformer(32, 40).parameters()) == 32 * 64 + 40 * 64 + 2 * 49_984 + 128


def test_copies_and_states_give_the_same_scores(model):
    tokens = tokens_of(2, 4)
    fresh = Transformer(vocab_size=11, context=12, width=16, n_layers=2, n_heads=4, n_values=2, seed=9).double()
    fresh.load_state_dict(model.state_dict())
    for other in (fresh, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (other(tokens) == model(tokens)).all()


@pytest.mark.parametrize(
    ("change", "word"),
    [({"width": 18}, "width"), ({"vocab_size": 1}, "vocab_size"), ({"context": 0}, "context"), ({"n_values": -1}, "n_values")],
)
def test_bad_settings_are_named(change, word):
    with pytest.raises(ValueError, match=word):
        Transformer(**({"vocab_size": 5, "context": 4, "width": 16} | change))


def test_bad_tokens_are_refused(model):
    for bad in (torch.tensor([[11]]), torch.tensor([[-1]]), torch.zeros(1, 0, dtype=torch.long)):
        with pytest.raises(ValueError, match="tokens"):
            model(bad)
    for bad in (torch.zeros(1, 2), torch.zeros(3, dtype=torch.long), [[1]]):
        with pytest.raises(TypeError, match="tokens"):
            model(bad)
    with pytest.raises(ValueError, match="context = 12"):
        model(tokens_of(1, 13))
    with pytest.raises(ValueError, match="attended"):
        model(tokens_of(1, 3), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="n_values"):
        Transformer(5, 4).values(torch.zeros(1, 64))
