"""ParetoDA: domain adaptation whose three losses are weighed anew in each step, by a linear program.

Fangrui Lv, Jian Liang, Kaixiong Gong, Shuang Li, Chi Harold Liu, Han Li, Di Liu, Guoren Wang, "Pareto Domain Adaptation",
NeurIPS 2021, arXiv:2112.04137. Authors' code: https://github.com/BIT-DA/ParetoDA (nothing is copied from it).

A classifier is trained on a labeled source and used on an unlabeled target. Three losses pull at its features: the source's
classification loss, an adversarial alignment loss, and a surrogate of the target's classification loss. Instead of fixed
weights, a small linear program chooses a convex combination of the three gradients in every step: along the gradient of the
same surrogate on a held-out part of the target, without hurting the objectives that disagree with it more than this asks for.

Implemented: the losses, the refinement by Bayes' rule, class-wise discriminators, the program in its guided, descent and
dominance modes (all vertices for three objectives, HiGHS for more), exact min-norm weights (MGDA), the training loop, and a
scikit-learn estimator; as options a small convolutional network with batch normalization, and pretrained backbones. Not
implemented: the bases CDAN, MDD and AdvEnt, segmentation.
The paper's text was not available to us beyond abstract and introduction: formulas follow a secondary summary and the authors'
code. Where these differ, the summary is followed. The code tests the held-out loss itself, which is never positive, so that its
guided branch cannot run; here its height above the least value counts (7). It multiplies logits where Bayes' rule multiplies
probabilities (``refine="logits"``). Where its program has no solution, it takes weights of 1 that are not normalized.

===============  ============================  ============  ==================================================================
symbol           name here                     shape         meaning
===============  ============================  ============  ==================================================================
theta            ``Adaptation.shared``         P             parameters of the features
g_S g_D g_T, G   ``Gradients.G``               (3, P)        gradients of the three losses in theta, (1)
g_v              ``Gradients.guide``           (P,)          gradient of the held-out loss
w, d             weights, direction            (3,), (P,)    on the simplex; d = 3 times the combination, (1), (11)
L_D, lambda      ``loss_d``, ``ramp_at``       scalars       alignment loss (2) and the factor of its reversed gradient (3)
C, a             ``gram``, ``guide``           (3, 3), (3,)  products of the gradients, of these with g_v
rho              ``refine_predictions``        (n, K)        refined probabilities, (4)
L_T, L_V         ``TCMLoss``                   scalars       minus mutual information, on training and held-out target, (5)
L_C              ``discriminator_loss``        scalar        loss of the class discriminators, (6)
h                ``held_out_height``           scalar        L_V + log K, (7)
A, r             ``guided_program``            (m, m), (m,)  constraints of the program, (8), (9); of pure descent (10)
===============  ============================  ============  ==================================================================

Rooms: `weights` (programs on C and a), `losses`, `networks`, `adaptation` (one run, step by step), `estimator`. Tasks, rivals
and protocols of the chapter are in `study`.
"""

from lib.objectives.pareto_da.adaptation import Adaptation
from lib.objectives.pareto_da.estimator import ParetoDA
from lib.objectives.pareto_da.losses import TCMLoss, refine_predictions
from lib.objectives.pareto_da.networks import ClassDomainDiscriminators
from lib.objectives.pareto_da.weights import min_norm_weights, pareto_weights

__all__ = [
    "Adaptation",
    "ClassDomainDiscriminators",
    "ParetoDA",
    "TCMLoss",
    "min_norm_weights",
    "pareto_weights",
    "refine_predictions",
]
