"""Directed acyclic graphs, structural equation models on them, and the measures by which estimated graphs are judged.

Conventions: an adjacency or weight matrix has ``W[i, j]`` = edge from i to j, so column j holds the parents of j. Orders list
the nodes parents first.
"""

from lib.problems.dags.graphs import is_dag, simulate_dag, topological_order
from lib.problems.dags.measures import count_accuracy, shd, varsortability
from lib.problems.dags.models import (
    population_covariance,
    simulate_binary_sem,
    simulate_nonlinear_sem,
    simulate_sem,
    simulate_weights,
)

__all__ = [
    "count_accuracy",
    "is_dag",
    "population_covariance",
    "shd",
    "simulate_binary_sem",
    "simulate_dag",
    "simulate_nonlinear_sem",
    "simulate_sem",
    "simulate_weights",
    "topological_order",
    "varsortability",
]
