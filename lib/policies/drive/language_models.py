"""The recipe in TRL's `GRPOTrainer`, for language models on a GPU. TRL is imported when it is used.

Programs of a language model run in a process of their own, never in this one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lib import checks
from lib.policies.drive.samplers import PreGRPOSchedule
from lib.policies.drive.sandbox import Failure, Limits, run_sandboxed

#: Settings of the two stages by the names of `trl.GRPOConfig`. From the paper: generations, windows in tokens (of prompt and
#: answer together), steps. It does not say the learning rate, the clip range or the weight of the divergence: those are usual.
PAPER_SETTINGS: dict[int, dict[str, Any]] = {
    1: {"num_generations": 8, "max_completion_length": 24_576, "max_steps": 32},
    2: {"num_generations": 64, "max_completion_length": 32_768, "max_steps": 64},
}
USUAL_SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-6,
    "beta": 0.0,
    "epsilon": 0.2,
    "loss_type": "grpo",
    "scale_rewards": "group",
    "temperature": 1.0,
    "use_vllm": True,
    "mask_truncated_completions": False,  # an unfinished answer fails, it is not left out
}
#: The paper's model after its supervised stage, and a small one to try the code with.
PAPER_MODEL, SMALL_MODEL = "tencent/DRIVE-SFT", "Qwen/Qwen2.5-Coder-0.5B-Instruct"

_BLOCK = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)


def program_of(completion: Any) -> str | None:
    """The last fenced block of a completion, plain or as a conversation; None where there is none.

    Examples
    --------
    >>> from lib.policies.drive.language_models import program_of
    >>> program_of("First I think.\\n```python\\nprint(1)\\n```")
    'print(1)\\n'
    """
    text = completion if isinstance(completion, str) else "".join(message["content"] for message in completion)
    blocks = _BLOCK.findall(text)
    return blocks[-1] if blocks else None


def passes(source: str | None, tests: Sequence[Mapping[str, Any]], limits: Limits | None = None) -> bool:
    """Whether a program passes all tests, run in a process of its own; texts are compared without white space around lines.

    Parameters
    ----------
    source : str or None
    tests : sequence of mappings
        Each with ``input`` and ``output``: all inputs texts for programs that read and print, else what ``solve`` takes.
    limits : Limits, optional

    Examples
    --------
    >>> from lib.policies.drive.language_models import passes
    >>> passes("print(int(input()) * 2)", [{"input": "21", "output": "42"}])
    True
    """
    if not len(tests):
        raise ValueError("tests must hold at least one, got none: every program would pass")
    if source is None:
        return False
    found = run_sandboxed(source, [test["input"] for test in tests], limits, how="process")
    if isinstance(found, Failure):
        return False
    return all(_plain(got) == _plain(test["output"]) for got, test in zip(found, tests, strict=True))


def _plain(value: Any) -> Any:
    return [line.strip() for line in value.strip().splitlines()] if isinstance(value, str) else value


def reward_function(limits: Limits | None = None) -> Callable[..., list[float]]:
    """The reward as TRL calls it: 1.0 where the completion's program passes all tests; the data set has a column ``tests``.

    Examples
    --------
    >>> from lib.policies.drive.language_models import reward_function
    >>> reward_function()(completions=["no program"], tests=[[{"input": "1", "output": "1"}]])
    [0.0]
    """

    def all_tests(completions: Sequence[Any], tests: Sequence[Any], **_: Any) -> list[float]:
        pairs = zip(completions, tests, strict=True)
        return [float(passes(program_of(completion), wanted, limits)) for completion, wanted in pairs]

    return all_tests


def train_with_trl(
    dataset: Any, stage: int = 1, model: Any = PAPER_MODEL, limits: Limits | None = None, **settings: Any
) -> Any:
    """Train a language model by one stage of the recipe in TRL; returns the trainer.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns ``prompt`` and ``tests``: for stage 1 a broad set, for a phase of stage 2 what `hardest_of` keeps.
    stage : {1, 2}
    model : str or model
        The paper's supervised model by default.
    limits : Limits, optional
        Of each program.
    **settings
        Of `trl.GRPOConfig`, in place of `PAPER_SETTINGS` and `USUAL_SETTINGS`.

    Raises
    ------
    ModuleNotFoundError
        Without TRL.
    """
    checks.choice("stage", stage, (1, 2))
    trl = _imported("trl")
    chosen = {**USUAL_SETTINGS, **PAPER_SETTINGS[stage], **settings}
    trainer = trl.GRPOTrainer(
        model=model, reward_funcs=[reward_function(limits)], args=trl.GRPOConfig(**chosen), train_dataset=dataset
    )
    trainer.train()
    return trainer


def hardest_of(dataset: Any, pass_rates: Any, phase: int = 0, schedule: PreGRPOSchedule | None = None) -> Any:
    """The rows of a data set that a phase of stage 2 keeps, by pass rates of fresh samples, one for each row.

    Parameters
    ----------
    dataset : datasets.Dataset
    pass_rates : array_like, shape (n,)
    phase : int
    schedule : PreGRPOSchedule, optional
        The paper's by default.
    """
    rates = checks.array("pass_rates", pass_rates, ndim=1, low=0, high=1)
    if len(rates) != len(dataset):
        raise ValueError(f"pass_rates must hold one for each of {len(dataset)} rows, got {len(rates)}")
    return dataset.select((PreGRPOSchedule() if schedule is None else schedule).select(rates, phase).tolist())


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"training a language model needs the package {name}: pip install {name}") from None
