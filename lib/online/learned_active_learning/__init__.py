"""Learning to Actively Learn."""
from lib.online.learned_active_learning.attack import Attack, worst_case
from lib.online.learned_active_learning.game import Game, solve_game
from lib.online.learned_active_learning.hardness import complexity, draw_class, project
from lib.online.learned_active_learning.lattice import Lattice
from lib.online.learned_active_learning.mapo import MAPO, Workflow, learn_robust
from lib.online.learned_active_learning.policy import QueryPolicy, TablePolicy
from lib.online.learned_active_learning.problem import QueryProblem, best_arm, thresholds
from lib.online.learned_active_learning.rollouts import Episodes, instance_scores, policy_surrogate, rollout
__all__ = ["MAPO","Attack","Episodes","Game","Lattice","QueryPolicy","QueryProblem","TablePolicy","Workflow","best_arm","complexity","draw_class","instance_scores","learn_robust","policy_surrogate","project","rollout","solve_game","thresholds","worst_case"]
