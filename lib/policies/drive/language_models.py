"""The recipe in TRL's `GRPOTrainer`, for language models on a GPU. TRL is imported when it is used.

Programs of a language model run in a process of their own, never in this one. A test runs both stages in TRL 1.16 with a tiny
model of random weights; no large model has been trained with it here.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lib import checks
from lib.policies.drive.contests import judge
from lib.policies.drive.samplers import PreGRPOSchedule
from lib.policies.drive.sandbox import Limits

#: Settings of the two stages by the names of `trl.GRPOConfig`. From the paper: generations, windows in tokens (of prompt and
#: answer together), steps. It does not say the learning rate, the clip range or the weight of the divergence: those are usual.
#: Nor does it say the prompts of a step for this model: 16 with 8 answers each, 4 with 64. A step's answers on all devices,
#: ``per_device_train_batch_size`` times ``gradient_accumulation_steps``, must be a multiple of ``num_generations``.
PAPER_SETTINGS: dict[int, dict[str, Any]] = {
    1: {"num_generations": 8, "max_completion_length": 24_576, "max_steps": 32, "gradient_accumulation_steps": 16},
    2: {"num_generations": 64, "max_completion_length": 32_768, "max_steps": 64, "gradient_accumulation_steps": 32},
}
USUAL_SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
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
    text = completion if isinstance(completion, str) else "".join(message["content"] or "" for message in completion)
    blocks = _BLOCK.findall(text)
    return blocks[-1] if blocks else None


def passes(
    source: str | None, tests: Sequence[Mapping[str, Any]], limits: Limits | None = None, function: str | None = None
) -> bool:
    """Whether a program passes all tests, run in a process of its own, see `lib.policies.drive.contests.judge`.

    Parameters
    ----------
    source : str or None
        None for a completion without a program: it passes no test.
    tests : sequence of mappings
        Each with ``input`` and ``output``.
    limits : Limits, optional
    function : str, optional
        What is called with each test's input, where the program does not read and print.

    Examples
    --------
    >>> from lib.policies.drive.language_models import passes
    >>> passes("print(int(input()) * 2)", [{"input": "21", "output": "42"}])
    True
    """
    if not len(tests):
        raise ValueError("tests must hold at least one, got none: every program would pass")
    return source is not None and judge(source, tests, function, limits).passed


def reward_function(limits: Limits | None = None, workers: Any = None) -> Callable[..., list[float]]:
    """The reward as TRL calls it: 1.0 where the completion's program passes all tests.

    The data set has a column ``tests`` and, where functions are called, a column ``function`` with their names or None.

    Parameters
    ----------
    limits : Limits, optional
        Of each program, for all its tests together.
    workers : int, optional
        Processes at a time, each with its own program; as many as there are processors by default. Of equal completions to
        one task one is run.

    Examples
    --------
    >>> from lib.policies.drive.language_models import reward_function
    >>> reward_function()(completions=["no program"], tests=[[{"input": "1", "output": "1"}]])
    [0.0]
    """

    workers = os.cpu_count() or 1 if workers is None else checks.integer("workers", workers, low=1)

    def all_tests(
        completions: Sequence[Any], tests: Sequence[Any], function: Sequence[str | None] | None = None, **_: Any
    ) -> list[float]:
        named = [None] * len(completions) if function is None else function
        rows, asked = [], {}
        for completion, wanted, name in zip(completions, tests, named, strict=True):
            source = program_of(completion)
            rows.append((source, name, repr(wanted)))
            asked[rows[-1]] = source, wanted, limits, name
        with ThreadPoolExecutor(workers) as pool:  # each waits for a process
            found = dict(zip(asked, pool.map(lambda given: passes(*given), asked.values()), strict=True))
        return [float(found[row]) for row in rows]

    return all_tests


def train_with_trl(
    dataset: Any, stage: int = 1, model: Any = PAPER_MODEL, limits: Limits | None = None, *, tokenizer: Any = None,
    **settings: Any,
) -> Any:  # fmt: skip
    """Train a language model by one stage of the recipe in TRL; returns the trainer.

    Parameters
    ----------
    dataset : datasets.Dataset
        Columns ``prompt``, ``tests`` and, if any, ``function``, as of `ContestProblem.row`: for stage 1 a broad set, for a
        phase of stage 2 what `hardest_of` keeps.
    stage : {1, 2}
    model : str or model
        The paper's supervised model by default.
    limits : Limits, optional
        Of each program.
    tokenizer : tokenizer, optional
        That of the model's name by default; a model that is given as an object and has no name needs one.
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
        model=model, reward_funcs=[reward_function(limits)], args=trl.GRPOConfig(**chosen), train_dataset=dataset,
        processing_class=tokenizer,
    )  # fmt: skip
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
