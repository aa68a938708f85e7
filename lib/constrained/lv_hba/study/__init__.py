"""What only the chapter's experiments use: the paper's toys with exact answers, rivals, tasks of the support vector machine."""

from lib.constrained.lv_hba.study.machines import (
    implicit_gradient,
    innermost,
    load,
    machines,
    run_grid,
    run_implicit,
    run_lvhba,
    tune_implicit,
    tune_lvhba,
)
from lib.constrained.lv_hba.study.quadratics import quadratic, slope_error
from lib.constrained.lv_hba.study.races import race_aipod, race_lvhba, sensitivity, stability_map, toy_starts
from lib.constrained.lv_hba.study.rates import affine_rates
from lib.constrained.lv_hba.study.toys import affine_toy, authors_start, best_reduced, merely_convex_toy

__all__ = [
    "affine_rates",
    "affine_toy",
    "authors_start",
    "best_reduced",
    "implicit_gradient",
    "innermost",
    "load",
    "machines",
    "merely_convex_toy",
    "quadratic",
    "race_aipod",
    "race_lvhba",
    "run_grid",
    "run_implicit",
    "run_lvhba",
    "sensitivity",
    "slope_error",
    "stability_map",
    "toy_starts",
    "tune_implicit",
    "tune_lvhba",
]
