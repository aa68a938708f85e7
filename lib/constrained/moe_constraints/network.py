"""Fourier neural operators that give basis functions on a grid."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lib import checks

__all__ = ["FNO2d", "FNO3d"]


class SpectralConv(nn.Module):
    """A convolution by its lowest Fourier modes: `modes` along the last axis, twice as many (both signs) along the others."""

    def __init__(self, width: int, modes: int, n_axes: int) -> None:
        super().__init__()
        self.modes, self.n_axes = modes, n_axes
        shape = (*(2 * modes,) * (n_axes - 1), modes, width, width)
        self.weight = nn.Parameter(torch.rand(*shape, 2, dtype=torch.float64) / width**2)

    def forward(self, x: Tensor) -> Tensor:
        """From (B, grid..., width) to the same."""
        *others, last = range(1, 1 + self.n_axes)
        low, sizes = self.modes, x.shape
        kept = torch.fft.rfft(x, dim=last).narrow(last, 0, low)
        for dim in others:
            kept = torch.fft.fft(kept, dim=dim)
            kept = torch.cat([kept.narrow(dim, 0, low), kept.narrow(dim, sizes[dim] - low, low)], dim=dim)
        mixed = (kept.movedim(0, -2) @ torch.view_as_complex(self.weight)).movedim(-2, 0)
        for dim in others:
            zeros = mixed.new_zeros(*mixed.shape[:dim], sizes[dim] - 2 * low, *mixed.shape[dim + 1 :])
            mixed = torch.cat([mixed.narrow(dim, 0, low), zeros, mixed.narrow(dim, low, low)], dim=dim)
            mixed = torch.fft.ifft(mixed, dim=dim)
        return torch.fft.irfft(mixed, n=sizes[last], dim=last)


class _FNO(nn.Module):
    def __init__(
        self,
        n_axes: int,
        channels: int,
        n_basis: int,
        layers: int,
        modes: int,
        width: int,
        head: int,
        activate: bool,
        seed: int,
    ) -> None:
        super().__init__()
        sizes = {"channels": channels, "n_basis": n_basis, "layers": layers, "modes": modes, "width": width, "head": head}
        sizes = {name: checks.integer(name, value, low=1) for name, value in sizes.items()}
        self.n_axes, self.modes, self.channels = n_axes, sizes["modes"], sizes["channels"]
        self.activate = checks.boolean("activate", activate)
        seed = checks.integer("seed", seed, low=0)
        with torch.random.fork_rng(devices=[]):  # the global generator stays where it is
            torch.manual_seed(seed)
            wide = sizes["width"]
            self.lift = nn.Linear(sizes["channels"], wide, dtype=torch.float64)
            self.spectral = nn.ModuleList(SpectralConv(wide, self.modes, n_axes) for _ in range(sizes["layers"]))
            self.local = nn.ModuleList(nn.Linear(wide, wide, dtype=torch.float64) for _ in range(sizes["layers"]))
            self.head = nn.Linear(wide, sizes["head"], dtype=torch.float64)
            self.out = nn.Linear(sizes["head"], sizes["n_basis"], dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        """From inputs (B, grid..., channels) to basis functions (B, grid..., n_basis), float64."""
        x = checks.tensor("x", x, ndim=self.n_axes + 2).double()
        least = min(*x.shape[1:-2], 2 * (x.shape[-2] // 2))
        if x.shape[-1] != self.channels or 2 * self.modes > least:
            wanted = f"{self.channels} channels and at least {2 * self.modes} points along each axis"
            raise ValueError(f"x must have {wanted}, got shape {tuple(x.shape)}")
        x = self.lift(x)
        for spectral, local in zip(self.spectral, self.local, strict=True):
            x = nn.functional.gelu(spectral(x) + local(x))
        x = self.out(nn.functional.gelu(self.head(x)))
        return nn.functional.gelu(x) if self.activate else x


class FNO2d(_FNO):
    """Fourier neural operator on a grid of time and one space axis.

    Parameters
    ----------
    channels : int
        Inputs at each point: t, x and the initial value.
    n_basis : int
        N, the basis functions. Paper: 16.
    layers, modes, width, head : int
        Paper: 5 layers of 8 modes, width 64, head 128.
    activate : bool
        GELU on the outputs, too: the paper's hard variants; False for the soft one.
    seed : int
        Of the weights.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import FNO2d
    >>> net = FNO2d(n_basis=4, layers=1, modes=2, width=8, head=8)
    >>> tuple(net(torch.zeros(2, 8, 16, 3)).shape)
    (2, 8, 16, 4)
    """

    def __init__(
        self,
        channels: int = 3,
        n_basis: int = 16,
        layers: int = 5,
        modes: int = 8,
        width: int = 64,
        head: int = 128,
        activate: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(2, channels, n_basis, layers, modes, width, head, activate, seed)


class FNO3d(_FNO):
    """Fourier neural operator on a grid of time and two space axes; parameters as those of `FNO2d`.

    Parameters
    ----------
    channels : int
        Inputs at each point: t, x, y and the initial vorticity.
    n_basis : int
        N. Paper: 64.
    layers, modes, width, head : int
        Paper: 8 layers of 8 modes, width 64, head 256.
    activate : bool
        GELU on the outputs, too.
    seed : int
        Of the weights.

    Examples
    --------
    >>> import torch
    >>> from lib.constrained.moe_constraints import FNO3d
    >>> net = FNO3d(n_basis=3, layers=1, modes=2, width=4, head=8)
    >>> tuple(net(torch.zeros(1, 4, 8, 8, 4)).shape)
    (1, 4, 8, 8, 3)
    """

    def __init__(
        self,
        channels: int = 4,
        n_basis: int = 64,
        layers: int = 8,
        modes: int = 8,
        width: int = 64,
        head: int = 256,
        activate: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(3, channels, n_basis, layers, modes, width, head, activate, seed)
