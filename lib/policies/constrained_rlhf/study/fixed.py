"""What was fixed before any comparison, by `lib.policies.constrained_rlhf.study.calibrate`, on validation prompts."""

from __future__ import annotations

#: Least and largest metrics (order of `METRICS`) over the runs of the calibration: the scale of the evaluation score.
LOW = (0.0057, 0.0713, 0.0024, 10.0, 1.145, 0.995)
HIGH = (0.0616, 0.1683, 0.0241, 14.0, 8.115, 7.35)
#: Weights of intent and METEOR in PPO, the grid they were chosen from, and thresholds of both rewards.
ALPHAS = (0.1, 1.0)
GRID = ((0.03, 0.1, 0.3), (0.3, 1.0, 3.0))
THRESHOLDS = (0.709, 0.38)
#: Largest rewards seen at the ends of the calibration's runs: how far the search for thresholds looks at first.
SEEN = (0.785, 0.411)
#: Rates of the multipliers that were tried; one is used for all variants, 1.0: the best mean over xi-PPO and mu-PPO.
RATES = (0.3, 1.0, 3.0)
