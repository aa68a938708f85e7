"""What was fixed before any comparison, by `lib.policies.constrained_rlhf.study.calibrate`, on validation prompts."""

from __future__ import annotations

#: Least and largest metrics (order of `METRICS`) over the runs of the calibration: the scale of the evaluation score.
LOW = (0.0, 0.1, 0.0, 3.0, 0.2, 0.1)
HIGH = (0.06, 0.4, 0.04, 13.0, 8.0, 7.0)
#: Weights of intent and METEOR in PPO, the grid they were chosen from, and thresholds of both rewards.
ALPHAS = (0.3, 3.0)
GRID = ((0.03, 0.1, 0.3), (0.3, 1.0, 3.0))
THRESHOLDS = (0.72, 0.3)
#: Rates of the multipliers that were tried.
RATES = (0.1, 0.3, 1.0)
