"""GBNN: a network with one hidden layer, trained by gradient boosting, a few hidden units at a time.

Seyedsaman Emami and Gonzalo Martinez-Munoz. *Sequential Training of Neural Networks with Gradient Boosting*.
IEEE Access 11, 42738-42750, 2023. doi:10.1109/ACCESS.2023.3271515, arXiv:1909.12098.
Official code: https://github.com/GAA-UAM/GBNN.

Implemented: classifier (two classes, more classes) and regressor with the authors' defaults; the three losses with their
starting constants, pseudo-residuals and Newton steps; the pieces; the assembled network, also as a torch module; predictions
after every step, truncation, resuming. `study` holds what only the chapter's experiments use.

Not implemented: solvers of the pieces other than L-BFGS; the deep feature extractor (any frozen one can stand in front).

================== ============================ ==============================================================================
symbol             name                         shape, meaning
================== ============================ ==============================================================================
F_t, h_t, T, J     ``steps_, units_per_step``   scores after t steps, piece of step t, steps, units per step: (1)
F_0                `initial_score`              float or (K,): (2)
r                  `pseudo_residuals`           (n,) or (n, K), -dL/dF: (3)
h                  `fit_piece`                  hidden W, c and output A, b of a piece: (4)
rho                `newton_step`                factor of a piece: (5); with the exact curvature of the softmax: (6)
nu, s_f            ``learning_rate, subsample`` shrinkage; share of rows that a piece is fit to
W1, b1, W2, b2     `assemble`                   (d, TJ), (TJ,), (TJ, K), (K,): (7)
================== ============================ ==============================================================================
"""

from lib.backprop_free.gbnn.estimators import GBNNClassifier, GBNNRegressor
from lib.backprop_free.gbnn.losses import initial_score, mean_loss, newton_step, pseudo_residuals
from lib.backprop_free.gbnn.network import Network, Step, assemble, to_torch
from lib.backprop_free.gbnn.pieces import Piece, fit_piece

__all__ = [
    "GBNNClassifier",
    "GBNNRegressor",
    "Network",
    "Piece",
    "Step",
    "assemble",
    "fit_piece",
    "initial_score",
    "mean_loss",
    "newton_step",
    "pseudo_residuals",
    "to_torch",
]
