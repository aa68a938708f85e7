"""Balancers for gates that others wrote: a gate by hand, and DeepSeek-V3's in transformers where that is installed."""

import copy
import pickle

import numpy as np
import pytest
import torch

from lib.online import alf_lb as al
from lib.online.alf_lb import GateBalancers, InvStep, LoadBalancer, SignStep, SqrtStep


class Gate(torch.nn.Module):
    """Scores in, weights and experts out, as such gates do it."""

    top_k = 2

    def __init__(self, n_experts=6):
        super().__init__()
        self.register_buffer("e_score_correction_bias", torch.zeros(n_experts, dtype=torch.float64))

    def forward(self, scores):
        experts = torch.sort(scores + self.e_score_correction_bias, dim=1, descending=True, stable=True).indices[:, :2]
        return scores.gather(1, experts), experts


def scores(seed=0):
    rng = np.random.default_rng(seed)
    return torch.as_tensor(1 / (1 + np.exp(-rng.normal(size=(60, 6)) - rng.normal(size=6))))


@pytest.mark.parametrize("rule", [SignStep(0.01), SqrtStep(0.1), InvStep(0.5)], ids=repr)
def test_a_gate_does_what_the_procedure_does_on_its_scores(rule):
    gate, g = Gate(), scores()
    balancers, run = GateBalancers(gate, rule), al.alf_lb(g.numpy(), 2, rule, 6)
    for n in range(6):
        gate(g[:25])
        gate(g[25:])
        balancers.update()
        np.testing.assert_allclose(gate.e_score_correction_bias.numpy(), run.prices[n + 1], atol=1e-12)


def test_only_training_counts_and_hooks_can_be_taken_away():
    gate = Gate()
    gate.e_score_correction_bias += torch.linspace(0, 0.5, 6)
    before = gate.e_score_correction_bias.clone()
    balancers = GateBalancers(gate, SignStep(0.1))
    assert torch.equal(balancers.balancers[0].bias, before)
    gate.eval()(scores())
    balancers.update()
    assert torch.equal(gate.e_score_correction_bias, before)
    balancers.remove()
    gate.train()(scores())
    assert balancers.balancers[0].pending.sum() == 0


def test_state_is_stored_and_a_copy_goes_on_alike():
    gate = Gate()
    balancers = GateBalancers(gate, InvStep(0.3))
    for _ in range(3):
        gate(scores())
        balancers.update()
    other = Gate()
    other.load_state_dict(gate.state_dict())
    again = GateBalancers(other, InvStep(0.3))
    again.load_state_dict(balancers.state_dict())
    pair = pickle.loads(pickle.dumps(torch.nn.ModuleList([gate, balancers])))
    twins = [(gate, balancers), (other, again), tuple(pair), tuple(copy.deepcopy(torch.nn.ModuleList([gate, balancers])))]
    for one, its in twins:
        one(scores(1))
        its.update()
        assert torch.equal(one.e_score_correction_bias, gate.e_score_correction_bias)
        assert int(its.balancers[0].n) == 4


def test_what_is_no_gate_is_named():
    with pytest.raises(ValueError, match="must hold a gate"):
        GateBalancers(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="model must be a torch module"):
        GateBalancers(3)
    gate = Gate()
    GateBalancers(gate)
    gate.forward = lambda s: s
    with pytest.raises(ValueError, match="one tensor of integers"):
        gate(scores())


def test_deepseek_v3_of_transformers_comes_nearer_to_balance():
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.DeepseekV3Config(
        vocab_size=50, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=1,
        n_group=1, topk_group=1, first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8,
        qk_nope_head_dim=8, v_head_dim=16, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.DeepseekV3ForCausalLM(config).train()
    with torch.no_grad():
        for part in model.modules():
            if hasattr(part, "e_score_correction_bias"):
                part.weight.normal_()
    balancers = GateBalancers(model, SqrtStep(0.2))
    assert len(balancers.balancers) == 1
    assert isinstance(balancers.balancers[0], LoadBalancer)
    words, violation = torch.randint(0, 50, (8, 32)), []
    for _ in range(40):
        model(input_ids=words, labels=words).loss.backward()
        load = balancers.balancers[0].pending.clone()
        assert int(load.sum()) == 2 * words.numel()
        violation.append(al.max_violation(load.numpy()))
        balancers.update()
    assert violation[-1] < 0.5 * violation[0]
