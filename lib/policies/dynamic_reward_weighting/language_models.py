"""The same weightings in TRL's `GRPOTrainer`, for language models on a GPU. TRL is imported when it is used.

A trainer is derived from `trl.GRPOTrainer`: between the rewards of a batch and its updates it asks the weighting. Run with TRL
1.16, transformers 5.24 and torch 2.13 on a tiny model with random weights; not with a language model.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.networks import advantages
from lib.policies.dynamic_reward_weighting.rewards import RunningRewards, is_clear, is_right
from lib.policies.dynamic_reward_weighting.training import RLConfig, loss_of
from lib.policies.dynamic_reward_weighting.weighting import RewardWeighting, StepInfo

#: Settings of the paper's scripts, by the names of `trl.GRPOConfig`, for one process; a step is 64 prompts by 8 responses.
PAPER_SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-6,
    "lr_scheduler_type": "constant",
    "num_generations": 8,
    "generation_batch_size": 512,
    "per_device_train_batch_size": 32,
    "gradient_accumulation_steps": 8,
    "max_completion_length": 2048,
    "temperature": 1.0,
    "beta": 0.001,
    "epsilon": 0.2,
    "max_grad_norm": 1.0,
    "loss_type": "dapo",
    "scale_rewards": "group",
    "num_train_epochs": 90,
}
#: In place of these, with weights that follow gradients: ratios are not clipped.
PAPER_GRADIENT_SETTINGS: dict[str, Any] = {"epsilon": 100.0}
#: The paper's first model.
PAPER_MODEL = "Qwen/Qwen3-8B"
#: What TRL adds to a deviation; the paper's scripts add 1e-6.
_EPS = 1e-4
#: TRL's ways to scale rewards for which the advantage of one reward alone is known here.
_KINDS = {"group": "grpo", "none": "dr_grpo"}


def reward_functions() -> list[Callable[..., list[float]]]:
    """Accuracy, conciseness and clarity as TRL calls them; the data set has a column ``answer``.

    Examples
    --------
    >>> from lib.policies.dynamic_reward_weighting.language_models import reward_functions
    >>> right, short, clear = reward_functions()
    >>> right(completions=["7", "so the answer is 7"], answer=["7", "7"])
    [0.0, 0.0]
    """
    running = RunningRewards([False])

    def accuracy(completions: Sequence[Any], answer: Sequence[str], **_: Any) -> list[float]:
        return [float(is_right(_said(text), wanted)) for text, wanted in zip(completions, answer, strict=True)]

    def conciseness(completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return running(np.array([[len(ids)] for ids in completion_ids]))[:, 0].tolist()

    def clarity(completions: Sequence[Any], **_: Any) -> list[float]:
        return [float(is_clear(_said(text))) for text in completions]

    return [accuracy, conciseness, clarity]


def _said(completion: Any) -> str:
    """The text of a completion, plain or as a conversation."""
    return completion if isinstance(completion, str) else "".join(message["content"] for message in completion)


def validator(dataset: Any, batch_size: int = 64, max_new: int | None = None) -> Callable[[Any], np.ndarray]:
    """A ``validate`` for `train_with_trl`: mean accuracy, length in tokens and clarity of the likeliest answers to a data set.

    Nothing is drawn, so that to look does not change what training draws.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns ``prompt`` (texts, or conversations where the tokenizer has a chat template) and ``answer``.
    batch_size : int
    max_new : int, optional
        Longest answer; the trainer's ``max_completion_length`` by default.
    """
    batch_size = checks.integer("batch_size", batch_size, low=1)
    if max_new is not None:
        checks.integer("max_new", max_new, low=1)

    def validate(trainer: Any) -> np.ndarray:
        tokenizer, model, found = trainer.processing_class, trainer.accelerator.unwrap_model(trainer.model), []
        settings = {"max_new_tokens": max_new or trainer.max_completion_length, "do_sample": False, "num_beams": 1}
        training = model.training
        model.eval()
        for begin in range(0, len(dataset), batch_size):
            part = dataset[begin : begin + batch_size]
            chats = not isinstance(part["prompt"][0], str)
            texts = [_templated(tokenizer, p) for p in part["prompt"]] if chats else part["prompt"]
            given = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=not chats)
            ids, mask = (given[name].to(model.device) for name in ("input_ids", "attention_mask"))
            with torch.no_grad():
                out = model.generate(input_ids=ids, attention_mask=mask, pad_token_id=tokenizer.pad_token_id, **settings)
            said = out[:, ids.shape[1] :]
            ends = (said == tokenizer.eos_token_id).long()
            lengths = (ends.cumsum(1) - ends == 0).sum(1).tolist()  # the end included
            for text, length, answer in zip(
                tokenizer.batch_decode(said, skip_special_tokens=True), lengths, part["answer"], strict=True
            ):
                found.append([is_right(text, answer), length, is_clear(text)])
        model.train(training)
        return np.array(found, dtype=float).mean(0)

    return validate


def _templated(tokenizer: Any, conversation: Any) -> str:
    return tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)


# ------------------------------------------------------------------------------------------------- inside the trainer


def weighted_trainer(base: type) -> type:
    """A class derived from `trl.GRPOTrainer` (or from one of its kind) that asks ``self.weighting`` for weights.

    Weights that follow gradients move after a batch is scored and before its first update, as in the paper; a
    scale of advantages is applied there too. Weights and scale are logged as ``weights/NAME`` and ``weights/scale``.
    """

    class WeightedTrainer(base):
        weighting: RewardWeighting

        def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
            self.scored: Tensor = super()._calculate_rewards(*args, **kwargs)
            return self.scored

        def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
            batch: dict[str, Any] = super()._generate_and_score_completions(inputs)
            if not self.model.training:
                return batch
            weighting = self.weighting
            if weighting.wants == "gradients":
                gradients = reward_gradients(self, batch, self.scored, weighting.clip, weighting.layers)
                weighting.step(StepInfo(gradients=gradients, lr=self.optimizer.param_groups[0]["lr"]))
                carry(self)
                batch["advantages"] = _gains(self, self.scored @ self.reward_weights.to(self.scored)).to(batch["advantages"])
            if weighting.where == "advantage":
                batch["advantages"] = batch["advantages"] * weighting.scale
            metrics = self._metrics["train"]
            for name, weight in zip([*self.reward_func_names, "scale"], [*weighting.weights, weighting.scale], strict=True):
                metrics[f"weights/{name}"].append(float(weight))
            return batch

    return WeightedTrainer


def carry(trainer: Any) -> None:
    """Hand a weighting's weights to its trainer, times the scale where that enters at the rewards."""
    weighting = trainer.weighting
    scale = weighting.scale if weighting.where == "reward" else 1.0
    trainer.reward_weights = torch.as_tensor(np.asarray(weighting.weights) * scale, dtype=torch.float32)


def _gains(trainer: Any, rewards: Tensor) -> Tensor:
    """Advantages as TRL makes them, shape of the rewards, (n,) or (n, K)."""
    given = rewards.detach().double().cpu().numpy()
    return advantages(given, trainer.num_generations, _KINDS[trainer.scale_rewards], _EPS)


def reward_gradients(
    trainer: Any, batch: dict[str, Any], rewards: Tensor, limit: float = 1.0, layers: Sequence[int] | None = None
) -> np.ndarray:
    """Gradients of the surrogate losses of single rewards, by coordinates in the space that they span: shape (K, K).

    The rows have the inner products of the gradients, each clipped to a norm of `limit` and then restricted to layers; that is
    all that a weighting asks, and the gradients themselves have billions of entries. Each takes a pass over the batch, in parts
    of ``per_device_train_batch_size``; the parts of the gradients that count wait in the memory of the CPU.

    Parameters
    ----------
    trainer : trl.GRPOTrainer
        Of one process.
    batch : dict
        What TRL makes of scored completions.
    rewards : tensor, shape (n, K)
    limit : float
        1 in the paper; infinity allowed.
    layers : sequence of int, optional
        Blocks of the model that count (10 to 25 in the paper), all parameters by default.
    """
    model, mask = trainer.model, batch["completion_mask"].bool()
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    counts, gains = _counting([name for name, _ in named], layers), _gains(trainer, rewards)
    config = RLConfig(beta=trainer.beta, ratio=np.inf)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    seen = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    first, width, rows = batch.get("ref_per_token_logps"), mask.shape[1], []
    for k in range(gains.shape[1]):
        total: list[Tensor] = []
        for begin in range(0, len(ids), trainer.args.per_device_train_batch_size):
            part = slice(begin, begin + trainer.args.per_device_train_batch_size)
            logs = trainer._get_per_token_logps_and_entropies(model, ids[part], seen[part], width)[0]
            reference = None if first is None else first[part]
            loss = loss_of(logs, logs.detach(), reference, gains[part, k].to(logs), mask[part], config)  # (6)
            share = loss * (mask[part].sum() / mask.sum().clamp(min=1))
            found = torch.autograd.grad(share, [p for _, p in named], materialize_grads=True)
            total = [a + b for a, b in zip(total, found, strict=True)] if total else list(found)
        norm = float(torch.stack([g.float().norm() for g in total]).norm())
        shrink = min(1.0, limit / norm) if norm else 1.0
        rows.append([g.float().cpu() * shrink for g, counted in zip(total, counts, strict=True) if counted])
    return _coordinates(rows)


def _counting(names: Sequence[str], layers: Sequence[int] | None) -> list[bool]:
    """Which parameters lie in the blocks that count."""
    if layers is None:
        return [True] * len(names)
    blocks = [re.search(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.", name) for name in names]
    found = [block is not None and int(block[1]) in layers for block in blocks]
    if not any(found):
        raise ValueError(f"layers must be blocks of the model with parameters to train, got {checks.shown(list(layers))}")
    return found


def _coordinates(rows: Sequence[Sequence[Tensor]]) -> np.ndarray:
    """Vectors of as many entries as there are rows, with the rows' inner products."""
    gram = np.array(
        [[sum(float((a * b).sum(dtype=torch.float64)) for a, b in zip(g, h, strict=True)) for h in rows] for g in rows]
    )
    values, vectors = np.linalg.eigh(gram)
    return vectors * np.sqrt(values.clip(min=0))


def weighting_callback(trainer: Any, validate: Callable[[], Any] | None = None) -> Any:
    """A callback that validates after each batch, tells the trainer's weighting, and carries its weights into the next step.

    Parameters
    ----------
    trainer : WeightedTrainer
        See `weighted_trainer`; its `reward_weights` are replaced.
    validate : function, optional
        Returns validation means (K,) of the trainer's model; for who wants points.

    Raises
    ------
    ModuleNotFoundError
        Without transformers.
    ValueError
        For a weighting that wants points without `validate`, or gradients of more than one process, or gradients with rewards
        scaled in another way than "group" or "none".
    """
    weighting = trainer.weighting
    if weighting.wants == "point" and validate is None:
        raise ValueError("validate is missing: a hypervolume-guided weighting needs validation means")
    if weighting.wants == "gradients":
        if trainer.scale_rewards not in _KINDS or getattr(trainer, "multi_objective_aggregation", _SUM) != _SUM:
            raise ValueError(f"scale_rewards must be 'group' or 'none', of sums, for gradients, got {trainer.scale_rewards!r}")
        if trainer.accelerator.num_processes > 1:
            raise ValueError(f"weighting follows gradients: one process only, got {trainer.accelerator.num_processes}")

    def on_train_begin(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if weighting.wants == "point" and validate is not None:
            weighting.start(np.asarray(validate()))
        carry(trainer)

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if weighting.wants != "point" or validate is None or state.global_step % updates_of(args):
            return
        weighting.step(StepInfo(point=np.asarray(validate())))
        carry(trainer)

    does = {"on_train_begin": on_train_begin, "on_step_end": on_step_end}
    return type("WeightingCallback", (_imported("transformers").TrainerCallback,), does)()


#: TRL's aggregation of rewards that (1) means.
_SUM = "sum_then_normalize"


def updates_of(args: Any) -> int:
    """Updates that TRL makes of one batch of responses: 2 in the paper's settings; the weighting steps once a batch."""
    accumulated = args.gradient_accumulation_steps
    parts = (getattr(args, "steps_per_generation", None) or accumulated) * (getattr(args, "num_iterations", None) or 1)
    return max(1, parts // accumulated)


def train_with_trl(
    dataset: Any, weighting: RewardWeighting, validate: Callable[[Any], Any] | None = None, model: Any = PAPER_MODEL,
    *, tokenizer: Any = None, rewards: Sequence[Callable[..., Any]] | None = None, **settings: Any,
) -> Any:  # fmt: skip
    """Train a language model by TRL with the three rewards of the paper and a weighting; returns the trainer.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns ``prompt`` and ``answer``.
    weighting : RewardWeighting
        Fixed, hypervolume-guided or gradient-based, changed in place; the last on one process.
    validate : function, optional
        ``validate(trainer)`` returns validation means (K,), called before the first step and after each batch; `validator`
        makes one. For hypervolume-guided weights.
    model : str or model
        The paper's first model by default.
    tokenizer : tokenizer, optional
        By default that of the model's name.
    rewards : sequence of functions, optional
        As TRL calls them, one for each weight; `reward_functions` by default.
    **settings
        Of `trl.GRPOConfig`, in place of `PAPER_SETTINGS`. ``scale_rewards`` decides whether a scale of rewards has an effect:
        "group" and "batch" undo it, "none" does not. Weights that follow gradients do not clip ratios by default.

    Raises
    ------
    ModuleNotFoundError
        Without TRL.
    TypeError, ValueError
        For a weighting that is none, or does not fit the rewards or the settings.

    Notes
    -----
    On a GPU, with data sets of ``prompt`` and ``answer``::

        train_with_trl(data, GradientInfluence([1 / 3] * 3, layers=range(10, 26)), output_dir="out")
        guided = HypervolumeGuided(PREFERENCES["accuracy"], maximize=[True, False, True], where="advantage")
        train_with_trl(data, guided, validator(held_out), output_dir="out")
    """
    if not isinstance(weighting, RewardWeighting):
        raise TypeError(f"weighting must be a RewardWeighting, got {checks.shown(weighting)}")
    functions = reward_functions() if rewards is None else list(rewards)
    if len(functions) != len(weighting.weights):
        raise ValueError(f"weighting must weigh the {len(functions)} rewards, got {len(weighting.weights)} weights")
    trl = _imported("trl")
    own = PAPER_GRADIENT_SETTINGS if weighting.wants == "gradients" else {}
    chosen = {**PAPER_SETTINGS, **own, "reward_weights": list(map(float, weighting.weights)), **settings}
    trainer = weighted_trainer(trl.GRPOTrainer)(
        model=model, reward_funcs=functions, args=trl.GRPOConfig(**chosen), train_dataset=dataset, processing_class=tokenizer
    )
    trainer.weighting = weighting
    looked = None if validate is None else (lambda: validate(trainer))
    trainer.add_callback(weighting_callback(trainer, looked))
    trainer.train()
    return trainer


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"training a language model needs the package {name}: pip install trl") from None
