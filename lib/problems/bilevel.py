r"""Bilevel problems, as the methods of several chapters take them.

.. math:: \min_{x \in X,\ y} F(x, y) \quad\text{where}\quad y \in \arg\min_{y \in Y} \{ f(x, y) : g(x, y) \le 0 \}

======================= =========================================================================================
`BilevelProblem`        the functions, the sets and the slopes, by autograd where no closed form is given
======================= =========================================================================================

==========  ==============================================
here        in the papers
==========  ==============================================
`upper`     F (proximal Lagrangian), f (penalty methods)
`lower`     f (proximal Lagrangian), g (penalty methods)
==========  ==============================================
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lib import checks

Level = Callable[[Tensor, Tensor], Tensor]
Slopes = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
Pull = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
Projection = Callable[[Tensor], Tensor]
JointProjection = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

__all__ = ["BilevelProblem"]


class BilevelProblem:
    """Upper and lower level of one problem, with first derivatives and projections; second derivatives are nobody's duty here.

    Parameters
    ----------
    upper, lower : callable
        ``(x, y)`` of shapes (n,) and (m,) to a tensor without dimensions, built from torch functions.
    constraints : callable, optional
        ``(x, y)`` to the p values that the lower level keeps at or below 0 (at 0 where `equality`).
    equality : bool, default=False
        Whether the constraints are equations.
    project_x, project_y : callable, optional
        Nearest points of X and Y, of a tensor (n,) or (m,); the whole space by default.
    project_joint : callable, optional
        ``(x, y)`` to the nearest pair that satisfies everything; X times Y by default, which is right without constraints.
    upper_slopes, lower_slopes : callable, optional
        ``(x, y)`` to the gradients in x and y, where a closed form is at hand; autograd by default.
    constraint_pull : callable, optional
        ``(x, y, weights)`` to the gradients in x and y of the weighted sum of the constraints; autograd by default.

    Raises
    ------
    TypeError
        If one of the arguments is no function.
    ValueError
        For an equality, a joint projection or a pull without constraints.

    Examples
    --------
    >>> import torch
    >>> from lib.problems.bilevel import BilevelProblem
    >>> problem = BilevelProblem(lambda x, y: ((y - 1) ** 2).sum(), lambda x, y: ((y - x) ** 2).sum())
    >>> [slope.item() for slope in problem.lower_slopes(torch.tensor([3.0]), torch.tensor([1.0]))]
    [4.0, -4.0]
    """

    def __init__(
        self,
        upper: Level,
        lower: Level,
        constraints: Level | None = None,
        *,
        equality: bool = False,
        project_x: Projection | None = None,
        project_y: Projection | None = None,
        project_joint: JointProjection | None = None,
        upper_slopes: Slopes | None = None,
        lower_slopes: Slopes | None = None,
        constraint_pull: Pull | None = None,
    ) -> None:
        self.upper, self.lower = checks.function("upper", upper), checks.function("lower", lower)
        self.equality = checks.boolean("equality", equality)
        optional = {
            "constraints": constraints,
            "project_x": project_x,
            "project_y": project_y,
            "project_joint": project_joint,
            "upper_slopes": upper_slopes,
            "lower_slopes": lower_slopes,
            "constraint_pull": constraint_pull,
        }
        for name, given in optional.items():
            if given is not None:
                checks.function(name, given)
        if constraints is None:
            for name, talk in {"equality": self.equality, "constraint_pull": constraint_pull is not None}.items():
                if talk:
                    raise ValueError(f"{name} is about constraints, and constraints is None")
        self.constraints = constraints
        self._project_x, self._project_y, self._project_joint = project_x, project_y, project_joint
        self._upper_slopes, self._lower_slopes, self._constraint_pull = upper_slopes, lower_slopes, constraint_pull

    def project_x(self, x: Tensor) -> Tensor:
        """Nearest point of X, shape (n,)."""
        return x if self._project_x is None else self._project_x(x.clone())

    def project_y(self, y: Tensor) -> Tensor:
        """Nearest point of Y, shape (m,)."""
        return y if self._project_y is None else self._project_y(y.clone())

    def project_joint(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Nearest pair that satisfies the constraints and lies in X and Y.

        Raises
        ------
        ValueError
            If there are constraints and nobody said how to project on them.
        """
        if self._project_joint is not None:
            return self._project_joint(x.clone(), y.clone())
        if self.constraints is not None:
            raise ValueError("project_joint is needed: the problem has constraints")
        return self.project_x(x), self.project_y(y)

    def upper_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the upper level in x, shape (n,), and in y, shape (m,)."""
        return _slopes(self.upper, x, y) if self._upper_slopes is None else self._upper_slopes(x, y)

    def lower_slopes(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of the lower level in x, shape (n,), and in y, shape (m,)."""
        return _slopes(self.lower, x, y) if self._lower_slopes is None else self._lower_slopes(x, y)

    def constraint_pull(self, x: Tensor, y: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of ``weights @ constraints(x, y)``, zero where there are no constraints."""
        if self.constraints is None:
            return torch.zeros_like(x), torch.zeros_like(y)
        if self._constraint_pull is not None:
            return self._constraint_pull(x, y, weights)
        of = self.constraints
        return _slopes(lambda a, b: weights @ of(a, b), x, y)


def _slopes(fun: Level, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients by autograd; zero in a variable on which the function does not depend."""
    x, y = x.detach().requires_grad_(True), y.detach().requires_grad_(True)
    with torch.enable_grad():
        value = fun(x, y)
    if not value.requires_grad:
        return torch.zeros_like(x), torch.zeros_like(y)
    found = torch.autograd.grad(value, (x, y), allow_unused=True)
    return tuple(torch.zeros_like(v) if g is None else g for v, g in zip((x, y), found, strict=True))  # type: ignore[return-value]
