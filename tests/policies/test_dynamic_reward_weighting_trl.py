"""Real TRL: a tiny model with random weights, trained for a few steps with each weighting, against independent formulas.

TRL is not installed with this project; where it is missing, these tests are skipped. They were run with TRL 1.16.0,
transformers 5.24.0, datasets 5.2.0, accelerate 1.15.0 and torch 2.13.0 on Python 3.11, on a CPU.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lib.policies import dynamic_reward_weighting as drw
from lib.policies.dynamic_reward_weighting import language_models, study

pytest.importorskip("trl", reason="TRL is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

EQUAL = study.protocols.EQUAL
LETTERS = [chr(code) for code in range(32, 127)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of three blocks and its tokenizer, a character per token, where names would point to downloads."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocabulary = {word: k for k, word in enumerate(["<pad>", "<end>", *LETTERS])}
    letters = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    letters.pre_tokenizer, letters.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token="<end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    torch.manual_seed(0)
    made = transformers.Qwen2ForCausalLM(
        transformers.Qwen2Config(vocab_size=len(vocabulary), num_hidden_layers=3, max_position_embeddings=64, **sizes, **ends)
    )
    path = tmp_path_factory.mktemp("model")
    made.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


def prompts():
    import datasets

    sums = [(a, b) for a in range(4) for b in range(4)]
    return datasets.Dataset.from_dict({"prompt": [f"{a}+{b}=" for a, b in sums], "answer": [str(a + b) for a, b in sums]})


def digits(completions, **_):
    return [float(sum(c.isdigit() for c in text)) for text in completions]


def capitals(completions, **_):
    return [float(sum(c.isupper() for c in text)) for text in completions]


def early(completions, **_):
    return [float(sum(map(ord, text[:2]))) / 100 for text in completions]


def trained(folder, weighting, tmp_path, validate=None, **changes):
    settings = {
        "output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "report_to": "none", "save_strategy": "no",
        "logging_steps": 1, "disable_tqdm": True, "learning_rate": 1e-3, "num_generations": 4, "generation_batch_size": 16,
        "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_completion_length": 6, "max_steps": 4,
        "rewards": [digits, capitals, early],
    } | changes  # fmt: skip
    return language_models.train_with_trl(prompts(), weighting, validate, folder, **settings)


def logged(trainer, name):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def batch_of(trainer, seed=3):
    trainer.model.train()
    torch.manual_seed(seed)
    rows = [row for row in list(prompts())[:4] for _ in range(4)]
    return trainer._generate_and_score_completions(rows)


def test_fixed_weights_train_with_the_rewards_of_the_paper(folder, tmp_path):
    import transformers

    trainer = trained(folder, drw.FixedWeights(drw.PREFERENCES["accuracy"]), tmp_path, rewards=None, max_completion_length=30)
    assert trainer.state.global_step == 4
    assert language_models.updates_of(trainer.args) == 2
    assert trainer.reward_weights.tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert trainer.reward_func_names == ["accuracy", "conciseness", "clarity"]
    assert logged(trainer, "weights/accuracy") == [0.5, 0.5]
    assert trainer.args.lr_scheduler_type == "constant"
    before = transformers.AutoModelForCausalLM.from_pretrained(folder)
    moved = [(a - b).abs().max().item() for a, b in zip(trainer.model.parameters(), before.parameters(), strict=True)]
    assert max(moved) > 1e-4


@pytest.mark.parametrize("kind", ["fixed", "gradient", "guided"])
def test_training_raises_what_is_rewarded(folder, tmp_path, kind):
    made = {
        "fixed": lambda: drw.FixedWeights(EQUAL),
        "gradient": lambda: drw.GradientInfluence(EQUAL, mu=0.1),
        "guided": lambda: drw.HypervolumeGuided(EQUAL, [True] * 3, where="advantage"),
    }
    answers = iter(np.linspace(0, 1, 100))
    look = (lambda trainer: [next(answers)] * 3) if kind == "guided" else None
    trainer = trained(folder, made[kind](), tmp_path, look, max_steps=60, learning_rate=5e-3)
    assert len(logged(trainer, "reward")) == 30
    total = sum(np.array(logged(trainer, f"rewards/{name}/mean")) for name in ("digits", "capitals", "early"))
    assert total[-5:].mean() > 1.3 * total[:5].mean()


def test_a_guided_scale_enters_the_batch_after_its_validation(folder, tmp_path):
    points, seen = iter([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.1, 0.1, 0.1], [0.2, 0.9, 0.9]]), []

    def validate(trainer):
        seen.append(trainer.state.global_step)
        return next(points)

    guided = drw.HypervolumeGuided(EQUAL, [True] * 3)
    trainer = trained(folder, guided, tmp_path, validate, max_steps=6, scale_rewards="none")
    assert seen == [0, 2, 4, 6]  # two updates of a batch
    assert guided.growth == pytest.approx([0.125, 0.0, 0.2 * 0.81 - 0.2 * 0.25])
    assert logged(trainer, "weights/scale") == pytest.approx([1.0, drw.meta_reward(0.125), 0.5])
    np.testing.assert_allclose(trainer.reward_weights, guided.scale / 3, rtol=1e-6)


@pytest.mark.parametrize(("how", "where", "factor"), [("group", "reward", 1), ("none", "reward", 2), ("group", "advantage", 2)])
def test_what_a_scale_does_to_the_advantages_of_trl(folder, tmp_path, how, where, factor):
    weighting = drw.FixedWeights(EQUAL)
    weighting.where = where
    trainer = trained(folder, weighting, tmp_path, scale_rewards=how, max_steps=1)
    found = []
    for weighting.scale in (1.0, 2.0):
        language_models.carry(trainer)
        found.append(batch_of(trainer)["advantages"])
    assert found[0].abs().max() > 0.1
    torch.testing.assert_close(found[1], factor * found[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("layers", [None, [1, 2]])
@pytest.mark.parametrize("how", ["group", "none"])
def test_weights_follow_the_gradients_of_trls_own_loss(folder, tmp_path, how, layers):
    method = drw.GradientInfluence(EQUAL, mu=1e-4, clip=0.2, layers=layers)
    trainer = trained(folder, method, tmp_path, scale_rewards=how, loss_type="bnpo", max_steps=2, beta=0.01)
    assert trainer.epsilon_low == 100.0
    assert len(method.influences) == 1  # one batch, two updates
    old, batch = method.weights, batch_of(trainer)
    rewards = trainer.scored.double().numpy().reshape(4, 4, 3)
    scale = 1.0 if how == "none" else rewards.std(1, ddof=1, keepdims=True) + 1e-4
    gains = ((rewards - rewards.mean(1, keepdims=True)) / scale).reshape(16, 3)
    named, rows = list(trainer.model.named_parameters()), []
    for k in range(3):
        told = {**batch, "advantages": torch.from_numpy(gains[:, k]).float()}
        loss = trainer._compute_loss(trainer.model, told) * trainer.current_gradient_accumulation_steps
        found = torch.autograd.grad(loss, [p for _, p in named])
        norm = torch.cat([g.flatten() for g in found]).norm().item()
        kept = [g.flatten() for g, (name, _) in zip(found, named, strict=True)
                if layers is None or any(f".layers.{layer}." in name for layer in layers)]  # fmt: skip
        rows.append((torch.cat(kept) * min(1.0, 0.2 / norm)).double().numpy())
    np.testing.assert_allclose(method.influences[-1], drw.influence(np.array(rows)), rtol=1e-3, atol=1e-8)
    np.testing.assert_allclose(method.weights, drw.mirror_step(old, method.influences[-1], 1e-3 / 1e-4))
    assert abs(method.weights - old).max() > 1e-4
    whole = rewards @ trainer.reward_weights.double().numpy()
    scale = 1.0 if how == "none" else whole.std(1, ddof=1, keepdims=True) + 1e-4
    wanted = ((whole - whole.mean(1, keepdims=True)) / scale).ravel()
    np.testing.assert_allclose(batch["advantages"], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(trainer.reward_weights, method.weights, rtol=1e-6)


def test_trl_makes_the_advantages_that_are_made_here(folder, tmp_path):
    """With weights that did not move, those of a gradient-based batch are TRL's own."""
    trainer = trained(folder, drw.FixedWeights(EQUAL), tmp_path, max_steps=1)
    theirs = batch_of(trainer)["advantages"].double()
    ours = language_models._gains(trainer, trainer.scored @ trainer.reward_weights)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_gradients_need_a_way_of_scaling_that_is_known(folder, tmp_path):
    with pytest.raises(ValueError, match="scale_rewards must be"):
        trained(folder, drw.GradientInfluence(EQUAL), tmp_path, scale_rewards="batch")
    with pytest.raises(ValueError, match="layers must be blocks"):
        trained(folder, drw.GradientInfluence(EQUAL, layers=[7]), tmp_path)


@pytest.mark.parametrize("chat", [False, True])
def test_validation_reads_the_likeliest_answers(folder, tmp_path, chat):
    import datasets

    trainer = trained(folder, drw.FixedWeights(EQUAL), tmp_path, max_steps=1)
    rows = list(prompts())
    told = [[{"role": "user", "content": row["prompt"]}] if chat else row["prompt"] for row in rows]
    data = datasets.Dataset.from_dict({"prompt": told, "answer": [row["answer"] for row in rows]})
    before = torch.get_rng_state()
    right, length, clear = language_models.validator(data, batch_size=5)(trainer)
    assert torch.equal(before, torch.get_rng_state())
    assert trainer.model.training
    lengths, tokenizer = [], trainer.processing_class
    for row in rows:
        ids = tokenizer(row["prompt"], return_tensors="pt").input_ids
        start = ids.shape[1]
        while ids.shape[1] < start + 6 and (ids.shape[1] == start or ids[0, -1] != tokenizer.eos_token_id):
            ids = torch.cat([ids, trainer.model(input_ids=ids).logits[:, -1:].argmax(-1)], 1)  # without a cache
        lengths.append(ids.shape[1] - start)
    assert length == pytest.approx(np.mean(lengths))
    assert (right, clear) == (0.0, 0.0)
