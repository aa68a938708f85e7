"""DRIVE: Data Curation Best Practices for Reinforcement Learning with Verifiable Reward in Competitive Code Generation (Zhu,
Cai, Chen, Wu, Yang, Zhou; 2025, arXiv:2511.06307).

Which prompts, how many samples of each, in what order: reinforcement learning of programs from tests, first on a broad set
with 8 samples of a prompt and a short window, then on the hardest problems only, re-selected by phase, with 64 samples.

Implemented: the reward from running programs in a sandbox, GRPO, the samplers of both stages and two rivals, the curriculum
with fresh pass rates, for the policies of `lib.networks` on problems of a small language; for language models the paper's
settings in TRL (`language_models`, which imports TRL when it is used), and LiveCodeBench's problems from the reader's files
(`load_livecodebench`). Not implemented: the supervised stage on distilled
solutions, whose data are not public; the difficulty classifier, of which the paper gives no details.

============ ==================================================================== ============ =================
symbol       name                                                                 shape        equation
============ ==================================================================== ============ =================
R(q, y)      `ProgramTask.check`, `ContestProblem.check`, `run_sandboxed`         0 or 1       section 3.1
A, L         `group_advantages`, `grpo_loss`                                      (B, G), ()   (1)
P            `informative_probability`                                            scalar       (2)
A(c, G)      `success_advantage`                                                  scalar       (3)
drift        `expected_drift`                                                     scalar       (3), (4)
entropy      `token_entropy`                                                      scalar       (5)
pass@k       `pass_at_k`                                                          scalar       (6)
p(q)         `evaluate`                                                           (N,)
S, k_j, T_j  `hardest`, `HardFocus`, `PreGRPOSchedule`, `train_pre_grpo`          places       Algorithm 1
============ ==================================================================== ============ =================

Equation numbers are the chapter's.
"""

from lib.policies.drive.contests import ContestProblem, load_livecodebench
from lib.policies.drive.evaluation import Evaluation, evaluate, token_entropy
from lib.policies.drive.groups import (
    expected_drift,
    group_advantages,
    grpo_loss,
    informative_probability,
    pass_at_k,
    success_advantage,
)
from lib.policies.drive.language import LEVELS, Problem, is_degenerate
from lib.policies.drive.samplers import (
    DynamicSampling,
    HardFocus,
    PreGRPOSchedule,
    Priority,
    PromptSampler,
    Uniform,
    hardest,
)
from lib.policies.drive.sandbox import Failure, Limits, run_sandboxed
from lib.policies.drive.tasks import CheckResult, ProgramTask
from lib.policies.drive.training import GRPOConfig, History, Trainer, train_grpo, train_pre_grpo

__all__ = [
    "LEVELS",
    "CheckResult",
    "ContestProblem",
    "DynamicSampling",
    "Evaluation",
    "Failure",
    "GRPOConfig",
    "HardFocus",
    "History",
    "Limits",
    "PreGRPOSchedule",
    "Priority",
    "Problem",
    "ProgramTask",
    "PromptSampler",
    "Trainer",
    "Uniform",
    "evaluate",
    "expected_drift",
    "group_advantages",
    "grpo_loss",
    "hardest",
    "informative_probability",
    "is_degenerate",
    "load_livecodebench",
    "pass_at_k",
    "run_sandboxed",
    "success_advantage",
    "token_entropy",
    "train_grpo",
    "train_pre_grpo",
]
