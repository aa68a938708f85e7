"""AnyLoss: any classification metric as a differentiable loss.

Doheon Han, Nuno Moniz and Nitesh V. Chawla, "AnyLoss: Transforming Classification Metrics into Loss Functions",
arXiv:2405.14745 (2024). Authors' code: https://github.com/doheonhan/anyloss (nothing is copied from it).

A binary classifier is judged by a metric of its confusion matrix and trained with something else, because the matrix is
piecewise constant in the parameters. AnyLoss puts a second, steep sigmoid on the predicted probability; the confusion
matrix built from it is differentiable, and so is 1 - metric for every metric of a confusion matrix.

Implemented: the amplifying function, the soft confusion matrix, the losses (accuracy, F-beta, G-mean, balanced
accuracy and any callable), their closed-form gradients for the single-layer perceptron, the paper's two learners
(perceptron by full-batch gradient descent, small network by Adam) with its baselines (Adaline, cross-entropy, SOL,
resampling), and the cross-validation protocol. Not implemented: more than two classes (the paper is binary), the
convolutional networks and the data sets that the paper does not name. Where the authors' code departs from the paper,
the paper is followed: n counts the batch (their network losses count the training set; `study.network.miscounted_metric` shows
what that does), the gradient of the G-mean has the factor 1/2 (theirs has 2), and no weights pass from fold to fold.

============  ==============================  ============  =====================================================
symbol        name here                       shape         meaning
============  ==============================  ============  =====================================================
x_i           ``X``                           (n, d)        features, a leading 1 for the intercept
y_i           ``y``, ``target``               (n,)          label in {0, 1}
theta         ``theta``                       (d,)          parameters of the perceptron; (K, d) for K of them
z_i           logit                           (n,)          x_i . theta
p_i           ``probs``                       (n,)          sigma(z_i)
L             ``L``                           scalar        amplification, 73 in the paper
A(p_i)        ``amplify(probs, L)``           (n,)          1 / (1 + exp(-L (p_i - 1/2)))
TP FP FN TN   ``soft_confusion``              scalars       sums of y A, (1-y) A, y (1-A), (1-y) (1-A)
w_i           ``w`` in ``slp_gradient``       (n,)          dA(p_i)/dz_i = L A (1-A) p (1-p)
g_t, g_h      ``g_pos``, ``g_pos + g_neg``    (d,)          gradients of TP and of TP + FP
============  ==============================  ============  =====================================================

Rooms: `scores` and `functional` (pure formulas), `losses` (``nn.Module``), `batches` (mini-batches that hold both
classes), `perceptron` (the single-layer perceptron, its baselines beside it) and `estimator` (the same for
scikit-learn). What only the experiments use is in `study`: the small network, the evaluation, cross-validation, rivals,
and the two data sets that can be rebuilt exactly or almost.
"""

from lib.objectives.anyloss.batches import StratifiedBatchSampler
from lib.objectives.anyloss.estimator import AnyLossClassifier
from lib.objectives.anyloss.functional import amplify, any_loss, max_safe_L, slp_gradient, soft_confusion
from lib.objectives.anyloss.losses import AnyLoss, SOLLoss
from lib.objectives.anyloss.perceptron import Objective, add_intercept, paper_objectives, train_perceptrons

__all__ = [
    "AnyLoss",
    "AnyLossClassifier",
    "Objective",
    "SOLLoss",
    "StratifiedBatchSampler",
    "add_intercept",
    "amplify",
    "any_loss",
    "max_safe_L",
    "paper_objectives",
    "slp_gradient",
    "soft_confusion",
    "train_perceptrons",
]
