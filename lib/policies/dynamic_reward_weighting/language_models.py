"""The same weighting in TRL's `GRPOTrainer`, for language models on a GPU. TRL is imported when it is used.

Fixed and hypervolume-guided weights only: a trainer of TRL takes one loss, weights that follow gradients need one per reward.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lib import checks
from lib.policies.dynamic_reward_weighting.rewards import RunningRewards, is_clear, is_right
from lib.policies.dynamic_reward_weighting.weighting import RewardWeighting, StepInfo

#: Settings of the paper's scripts, by the names of `trl.GRPOConfig`; a step is 64 prompts with 8 responses each.
PAPER_SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-6,
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
#: The paper's first model.
PAPER_MODEL = "Qwen/Qwen3-8B"


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


def weighting_callback(trainer: Any, weighting: RewardWeighting, validate: Callable[[], Any] | None = None) -> Any:
    """A callback that carries a weighting's weights, times its scale, into a trainer of TRL before its next step.

    Parameters
    ----------
    trainer : trl.GRPOTrainer
        Its `reward_weights` are replaced.
    weighting : RewardWeighting
        Fixed or hypervolume-guided with its scale on rewards.
    validate : function, optional
        Returns validation means (K,) of the trainer's model; for who wants points.

    Raises
    ------
    ModuleNotFoundError
        Without TRL.
    ValueError
        For a weighting that needs gradients, scales advantages, or wants points without `validate`.
    """
    if weighting.wants == "gradients":
        raise ValueError("weighting follows gradients: use lib.policies.dynamic_reward_weighting.Trainer, TRL has no such hook")
    if weighting.where != "reward":
        raise ValueError(f"weighting must scale rewards with TRL, got where={weighting.where!r}")
    if weighting.wants == "point" and validate is None:
        raise ValueError("validate is missing: a hypervolume-guided weighting needs validation means")
    torch = importlib.import_module("torch")

    def carry() -> None:
        now = np.asarray(weighting.weights) * weighting.scale
        trainer.reward_weights = torch.as_tensor(now, dtype=torch.float32)

    def on_train_begin(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if weighting.wants == "point" and validate is not None:
            weighting.start(np.asarray(validate()))
        carry()

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % updates_of(args):
            return
        if weighting.wants == "point" and validate is not None:
            weighting.step(StepInfo(point=np.asarray(validate()), lr=args.learning_rate))
        carry()

    does = {"on_train_begin": on_train_begin, "on_step_end": on_step_end}
    return type("WeightingCallback", (_imported("transformers").TrainerCallback,), does)()


def updates_of(args: Any) -> int:
    """Updates that TRL makes of one batch of responses: 2 in the paper's settings; the weighting steps once a batch."""
    accumulated = args.gradient_accumulation_steps
    return max(1, (getattr(args, "steps_per_generation", None) or accumulated) // accumulated)


def train_with_trl(
    dataset: Any, weighting: RewardWeighting, validate: Callable[[Any], Any] | None = None, model: Any = PAPER_MODEL,
    **settings: Any,
) -> Any:  # fmt: skip
    """Train a language model by TRL with the three rewards of the paper and a weighting; returns the trainer.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns ``prompt`` and ``answer``.
    weighting : RewardWeighting
    validate : function, optional
        ``validate(trainer)`` returns validation means (3,).
    model : str or model
        The paper's first model by default.
    **settings
        Of `trl.GRPOConfig`, in place of `PAPER_SETTINGS`. ``scale_rewards`` decides whether a scale of rewards has an effect:
        "group" and "batch" undo it, "none" does not.

    Raises
    ------
    ModuleNotFoundError
        Without TRL.
    """
    if not isinstance(weighting, RewardWeighting):
        raise TypeError(f"weighting must be a RewardWeighting, got {checks.shown(weighting)}")
    trl = _imported("trl")
    chosen = {**PAPER_SETTINGS, "reward_weights": list(map(float, weighting.weights)), **settings}
    trainer = trl.GRPOTrainer(
        model=model, reward_funcs=reward_functions(), args=trl.GRPOConfig(**chosen), train_dataset=dataset
    )
    looked = None if validate is None else (lambda: validate(trainer))
    trainer.add_callback(weighting_callback(trainer, weighting, looked))
    trainer.train()
    return trainer


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"training a language model needs the package {name}: pip install trl") from None
