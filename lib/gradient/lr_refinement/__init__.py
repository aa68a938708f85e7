"""Learning-rate schedules from last-iterate theory, refined by observed gradient norms.

Aaron Defazio, Ashok Cutkosky, Harsh Mehta and Konstantin Mishchenko, "When, Why and How Much? Adaptive Learning Rate
Scheduling by Refinement", arXiv:2310.07831, 2023; version 2 (2024) is titled "Optimal Linear Decay Learning Rate Schedules
and Further Refinements".

Implemented: the map from weights to schedules and its last-iterate theorem (`theory`), the weights that minimize the bound
for given gradient norms and the classical bound of any step sizes (`bounds`), refinement for SGD-like and Adam-like
optimizers (`refinement`), schedulers and a gradient-norm recorder for any torch optimizer (`schedulers`, `recorder`). Not
implemented: the paper's large runs (ImageNet, RCNN, GPT on BookWiki, ...); the recorder and the schedulers are all that such
a run needs. What only the chapter's experiments use is in `study`.

=====================  ===================  ===========  ========================================================
symbol                 name                 shape        meaning
=====================  ===================  ===========  ========================================================
T                      ``n_steps``          int          iterations, fixed beforehand
w_1..w_T               ``w``                (T,)         non-negative weights, the last one positive
w_{t+1:T}              ``later(w)``         (T,)         sum of the later weights
z_t, x_t, g_t          ``z``, ``x``, ``g``  (T, ..., d)  online learner, iterates, subgradients at x_t
eta_t                  ``eta``              (T,)         learning rates: w_t w_{t+1:T} / w_{1:T}
G_t                    ``G``                (T,)         gradient norms ``||g_t||_2`` or ``||g_t||_1``
D                      ``D``                float        distance of x_1 to the comparator
tau                    ``tau``              float        width of the median filter, as a share of the run (0.1)
B1                     `bound_weights`      float        (D^2 + sum w_t^2 G_t^2) / (2 w_{1:T})
B2                     `bound_steps`        float        classical last-iterate bound of any step sizes
=====================  ===================  ===========  ========================================================
"""

from __future__ import annotations

from .bounds import bound_steps, bound_weights, optimal_steps, optimal_weights
from .recorder import GradNormRecorder
from .refinement import refine_schedule, smooth_norms
from .schedulers import ArrayLR, LinearDecayLR, RefinedLR
from .theory import SCHEDULES, last_iterate, later, value_coefficients, weights_to_schedule

__all__ = [
    "SCHEDULES",
    "ArrayLR",
    "GradNormRecorder",
    "LinearDecayLR",
    "RefinedLR",
    "bound_steps",
    "bound_weights",
    "last_iterate",
    "later",
    "optimal_steps",
    "optimal_weights",
    "refine_schedule",
    "smooth_norms",
    "value_coefficients",
    "weights_to_schedule",
]
