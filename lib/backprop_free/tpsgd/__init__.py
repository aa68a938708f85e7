"""tpSGD: networks trained layer by layer against fixed random projections of the labels.

Michael Lomnitz, Zachary Daniels, David Zhang and Michael Piacentino. *Learning with Local Gradients at the Edge*.
arXiv:2208.08503, 2022. No official code. Ancestor: direct random target projection (DRTP), Frenkel, Lefebvre and Bol,
Frontiers in Neuroscience 15, 2021, arXiv:1909.01311.

Implemented: the local rule with five named losses and any function; targets of four laws; fully connected, convolutional and
recurrent layers (three ways to place the target in time, and the layer-local gradient in forward mode); training with one
torch optimizer per layer, no gradient kept across layers; the same as a scikit-learn classifier (`TPSGDClassifier`); the code
that layers learn; memory and angles. `study` holds the rivals (backpropagation, DFA, DRTP, frozen layers, trained local
classifiers) and protocols.

Not known to us, so ours: the law of the projections, the paper's networks and learning rates, how it treats time, its adaptors.

=================== ============================== =======================================================================
symbol              name                           shape, meaning
=================== ============================== =======================================================================
y_i, z_i            ``output``                     (samples, features), y = s(z), z = y_{i-1} W + b: (1)
t_i = y* P_i        `LocalTarget`                  (samples, features), y* one-hot labels (samples, K): (2)
P_i                 `draw_patterns`                (K, features), fixed: (2)
delta_i             `local_delta`                  (samples, features): (3); `slope` is s'(z)
gradients of W, b   `dense_gradients`              (features in, features out) and (features out,): (3)
J_i, dJ_i/dy_i      `local_loss`, `residual`       (samples,) and (samples, features): (4)
q                   `read_code`                    (samples, K), the solution of y = q P: (6)
h_t                 `recurrent_states`             (samples, steps, units): (7); `recurrent_loss`
dh_t/dW             `forward_mode_gradients`       real-time recurrent learning: (8)
eta, eta_h          ``lr``, ``lr * hidden_scale``  learning rates of the head and of hidden layers
=================== ============================== =======================================================================
"""

from __future__ import annotations

from typing import Any

from lib.backprop_free.tpsgd.blocks import TPRNN, TPBlock, TPSequential
from lib.backprop_free.tpsgd.measure import PeakBytes, compare_gradients, peak_bytes
from lib.backprop_free.tpsgd.recurrent import forward_mode_gradients, recurrent_loss, recurrent_states
from lib.backprop_free.tpsgd.rules import dense_gradients, local_delta, local_loss, read_code, residual, slope
from lib.backprop_free.tpsgd.targets import LocalTarget, draw_patterns

__all__ = [
    "TPRNN",
    "LocalTarget",
    "PeakBytes",
    "TPBlock",
    "TPSGDClassifier",
    "TPSequential",
    "compare_gradients",
    "dense_gradients",
    "draw_patterns",
    "forward_mode_gradients",
    "local_delta",
    "local_loss",
    "peak_bytes",
    "read_code",
    "recurrent_loss",
    "recurrent_states",
    "residual",
    "slope",
]


def __getattr__(name: str) -> Any:
    """`TPSGDClassifier` loads scikit-learn, so it is imported when it is asked for."""
    if name == "TPSGDClassifier":
        from lib.backprop_free.tpsgd.classifier import TPSGDClassifier

        return TPSGDClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
