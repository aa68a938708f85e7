"""Two-dimensional incompressible flow in vorticity form, on the periodic unit square."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import checks
from lib.constrained.moe_constraints.pde import PDE, difference

__all__ = ["NavierStokes"]


class NavierStokes(PDE):
    """Vorticity w of a decaying flow (11): w_t + u . grad w = nu lap w, with the ansatz (12) that starts at w_0.

    The condition is the initial vorticity. Space differences are central and periodic; the velocity comes from the
    vorticity by Fourier transform.

    Parameters
    ----------
    n_t, n : int
        Times and points along a side. Paper: 64 and 64 (training), 64 and 256 (test).
    viscosity : float
        nu. Paper: 1e-4.
    t_end : float
        Last time. Paper: 5.
    scale : float
        The factor in (12). Paper: 0.005.

    Raises
    ------
    TypeError, ValueError
        For fewer than 3 points along an axis, numbers not above 0.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import NavierStokes
    >>> pde = NavierStokes(n_t=4, n=8)
    >>> pde.field_residual(torch.zeros(1, 4, 8, 8, dtype=torch.float64)).abs().max().item()
    0.0
    """

    tol = 1e-7

    def __init__(self, n_t: int = 64, n: int = 64, viscosity: float = 1e-4, t_end: float = 5.0, scale: float = 0.005) -> None:
        n = checks.integer("n", n, low=3)
        self.shape = (checks.integer("n_t", n_t, low=3), n, n)
        self.viscosity = checks.positive("viscosity", viscosity)
        self.t_end = checks.positive("t_end", t_end)
        self.scale = checks.positive("scale", scale)
        self.dt = self.t_end / (self.shape[0] - 1)

    def operators(self, field: Tensor) -> Tensor:
        """w_t, w_x, w_y, lap w and both velocities of fields (B, n_t, n, n, N)."""
        n = self.shape[1]
        w_x, w_y = _central(field, 2, n), _central(field, 3, n)
        lap = _central(w_x, 2, n) + _central(w_y, 3, n)
        return torch.stack([difference(field, 1, self.dt), w_x, w_y, lap, *velocity(field)])

    def law(self, z: Tensor) -> Tensor:
        """w_t + u_x w_x + u_y w_y - nu lap w."""
        w_t, w_x, w_y, lap, u_x, u_y = z
        return w_t + u_x * w_x + u_y * w_y - self.viscosity * lap  # (11)

    def law_slopes(self, z: Tensor) -> Tensor:
        """Its derivatives in each of the six."""
        _, w_x, w_y, lap, u_x, u_y = z
        return torch.stack([torch.ones_like(lap), u_x, u_y, torch.full_like(lap, -self.viscosity), w_x, w_y])  # (11)

    def ansatz(self, basis: Tensor) -> Tensor:
        """Basis functions that vanish at t = 0 and have no mean (12)."""
        ramp = torch.linspace(0, 1, self.shape[0], dtype=basis.dtype)[:, None, None, None]
        basis = self.scale * ramp * basis  # (12)
        return basis - basis.mean(dim=(2, 3), keepdim=True)  # (12)

    def base(self, condition: Tensor) -> Tensor:
        """The initial vorticity at every time."""
        return condition[:, None].expand(-1, *self.shape)

    def conditions(self, field: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """None: the ansatz meets them."""
        return field.new_zeros(len(field), 0, field.shape[-1]), field.new_zeros(len(field), 0)

    def condition_losses(self, u: Tensor, condition: Tensor) -> Tensor:
        """Zero: the ansatz meets them."""
        return u.new_zeros(len(u))

    def check_condition(self, condition: Any) -> Tensor:
        """Initial vorticities, shape (B, n, n), made free of their mean."""
        given = torch.from_numpy(np.array(checks.array("condition", condition, shape=(None, *self.shape[1:])), dtype=float))
        return given - given.mean(dim=(1, 2), keepdim=True)

    def inputs(self, condition: Tensor) -> Tensor:
        """t, x, y and w_0 at every point."""
        t = torch.linspace(0, 1, self.shape[0], dtype=condition.dtype)
        side = torch.arange(self.shape[1], dtype=condition.dtype) / self.shape[1]
        grid = torch.stack(torch.meshgrid(t, side, side, indexing="ij"), dim=-1).expand(len(condition), -1, -1, -1, -1)
        return torch.cat([grid, self.base(condition)[..., None]], dim=-1)

    def reference(self, condition: Any, finer: int = 2, max_step: float = 0.05) -> np.ndarray:
        """Solutions on this grid from a Fourier method on a finer one.

        Parameters
        ----------
        condition : array_like, shape (B, n, n)
        finer : int
            How many points of the finer grid stand for one of this grid, along a side.
        max_step : float
            Longest time step.

        Returns
        -------
        array, shape (B, n_t, n, n)
        """
        given, n = self.check_condition(condition).numpy(), self.shape[1]
        finer, max_step = checks.integer("finer", finer, low=1), checks.positive("max_step", max_step)
        spectrum = np.fft.fft2(given)
        spectrum[:, n // 2], spectrum[:, :, n // 2] = 0, 0  # the highest mode of an even grid has no sign
        pad = (finer - 1) * n
        wide = np.pad(np.fft.fftshift(spectrum, axes=(1, 2)), ((0, 0), *((pad // 2, pad - pad // 2),) * 2))
        fine = np.fft.ifft2(np.fft.ifftshift(wide, axes=(1, 2))).real * finer**2
        times = np.linspace(0, self.t_end, self.shape[0])
        return spectral_flow(fine, times, self.viscosity, max_step)[:, :, ::finer, ::finer]


def _central(field: Tensor, dim: int, n: int) -> Tensor:
    return (field.roll(-1, dim) - field.roll(1, dim)) * (n / 2)


def velocity(vorticity: Tensor) -> tuple[Tensor, Tensor]:
    """Both components of the flow without divergence and mean whose curl is given, on dimensions 2 and 3."""
    n = vorticity.shape[2]
    k = 2 * torch.pi * torch.fft.fftfreq(n, 1 / n, dtype=vorticity.dtype)
    half = 2 * torch.pi * torch.fft.rfftfreq(n, 1 / n, dtype=vorticity.dtype)
    k_x, k_y = k[:, None, None], half[None, :, None]
    square = k_x**2 + k_y**2
    square[0, 0] = 1.0
    stream = torch.fft.rfft2(vorticity, dim=(2, 3)) / square  # of -lap(stream) = vorticity
    sizes = {"s": (n, n), "dim": (2, 3)}
    return torch.fft.irfft2(1j * k_y * stream, **sizes), torch.fft.irfft2(-1j * k_x * stream, **sizes)  # (11)


def spectral_flow(vorticity: np.ndarray, times: np.ndarray, viscosity: float, max_step: float) -> np.ndarray:
    """Vorticities (B, n, n) at `times`, (B, T, n, n): Fourier modes (2/3 rule), Runge and Kutta's fourth order."""
    n = vorticity.shape[-1]
    k_x, k_y = 2 * np.pi * np.fft.fftfreq(n, 1 / n)[:, None], 2 * np.pi * np.fft.rfftfreq(n, 1 / n)[None]
    square = k_x**2 + k_y**2
    inverse = 1 / np.where(square > 0, square, 1.0)
    kept = np.maximum(abs(k_x), abs(k_y)) < 2 * np.pi * n / 3

    def back(spectrum: np.ndarray) -> np.ndarray:
        return np.fft.irfft2(spectrum, s=(n, n))

    def carried(w: np.ndarray) -> np.ndarray:
        u_x, u_y = back(1j * k_y * inverse * w), back(-1j * k_x * inverse * w)
        return -(kept * np.fft.rfft2(u_x * back(1j * k_x * w) + u_y * back(1j * k_y * w)))

    w = np.fft.rfft2(vorticity)
    states = [back(w)]
    for span in np.diff(times):
        steps = int(np.ceil(span / max_step))
        h = span / steps
        half = np.exp(-viscosity * square * h / 2)
        for _ in range(steps):
            a = carried(w)
            b = carried(half * (w + h / 2 * a))
            c = carried(half * w + h / 2 * b)
            d = carried(half**2 * w + h * half * c)
            w = half**2 * w + h / 6 * (half**2 * a + 2 * half * (b + c) + d)
        states.append(back(w))
    return np.stack(states, axis=1)
