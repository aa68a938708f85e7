"""What was fixed before any comparison, by `lib.policies.constrained_rlhf.study.calibrate`, on validation prompts."""

from __future__ import annotations

#: Least and largest metrics (order of `METRICS`) over the runs of the calibration: the scale of the evaluation score.
LOW = (0.0057, 0.0713, 0.0024, 10.0, 1.145, 0.995)
HIGH = (0.0616, 0.1683, 0.0241, 14.0, 8.115, 7.35)
#: Weights of intent and METEOR in PPO, the grid they were chosen from, and thresholds of both rewards.
ALPHAS = (0.1, 1.0)
GRID = ((0.03, 0.1, 0.3), (0.3, 1.0, 3.0))
THRESHOLDS = (0.709, 0.38)
#: Proxy points of either reward alone, both at the edge of what their runs saw, and the joint one by the calibration's first
#: fit, of degree 6.
SINGLE = (0.726, 0.362)
FIRST = (0.607, 0.41)
#: Largest rewards seen at the ends of the calibration's runs: how far the search for thresholds looks at first.
SEEN = (0.785, 0.411)
#: Rates of the multipliers that were tried, and the best: of xi-PPO, and of xi-PPO and mu-PPO with plain multipliers.
RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
XI_RATE = 1.0
XI_PLAIN_RATE = 1.0
MU_PLAIN_RATE = 1.0
#: The same for the sigmoids of mu-PPO and All-PPO, which need larger rates.
SIGMOID_RATES = (10.0, 30.0, 100.0, 300.0, 1000.0)
MU_RATE = 300.0
ALL_RATE = 30.0
#: Weights of the squared distances of intent and METEOR in PPO-SAT, and the grid they were chosen from.
SAT_ALPHAS = (3.0, 30.0)
SAT_GRID = ((1.0, 3.0, 10.0), (10.0, 30.0, 100.0))
