"""The procedure in models that others wrote: gates that hold a correction bias, as DeepSeek-V3's do in transformers."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from lib import checks
from lib.online.alf_lb.layers import LoadBalancer
from lib.online.alf_lb.steps import StepRule

__all__ = ["GateBalancers"]

#: The buffer that such gates add to their scores for the selection, and for nothing else.
BUFFER = "e_score_correction_bias"


class GateBalancers(nn.Module):
    """A balancer for every gate of a model that has a correction bias: it counts in training and moves the bias on `update`.

    A gate is a module with a buffer ``e_score_correction_bias`` (E,), whose output holds one tensor of integers, the experts of
    each token. So are those of ``DeepseekV3ForCausalLM`` in the package transformers. Call `update` once after each step of
    the optimizer. Loads of several processes are theirs: add them up in ``pending`` before.

    Parameters
    ----------
    model : Module
        Holds the gates. It is not changed but for its gates' buffers, and a hook on each gate.
    step : StepRule, optional
        How far prices move; default the rule of DeepSeek with its 0.001.

    Attributes
    ----------
    balancers : ModuleList of LoadBalancer
        In the order of the model's modules; they start from the biases that the gates have.

    Raises
    ------
    ValueError
        For a model without such a gate.

    Examples
    --------
    >>> import torch
    >>> from lib.online.alf_lb import GateBalancers, SignStep
    >>> class Gate(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.register_buffer("e_score_correction_bias", torch.zeros(2, dtype=torch.float64))
    ...     def forward(self, scores):
    ...         return scores, (scores + self.e_score_correction_bias).topk(1).indices
    >>> gate = Gate()
    >>> balancers = GateBalancers(gate, SignStep(0.1))
    >>> _ = gate(torch.tensor([[0.9, 0.2], [0.8, 0.4]]))
    >>> balancers.update()
    >>> gate.e_score_correction_bias.tolist()
    [-0.1, 0.1]
    """

    def __init__(self, model: nn.Module, step: StepRule | None = None) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch module, got {checks.shown(model)}")
        gates = [part for part in model.modules() if isinstance(getattr(part, BUFFER, None), Tensor)]
        if not gates:
            raise ValueError(f"model must hold a gate with a buffer {BUFFER!r}, got {type(model).__name__} without one")
        self._gates = tuple(gates)  # in a tuple: they belong to the model
        self.balancers, self._hooks = nn.ModuleList(), []
        for gate in gates:
            bias = getattr(gate, BUFFER)
            balancer = LoadBalancer(bias.numel(), min(int(getattr(gate, "top_k", 1)), bias.numel()), step).to(bias.device)
            balancer.bias.copy_(bias)
            self.balancers.append(balancer)
            self._hooks.append(gate.register_forward_hook(functools.partial(_count, balancer)))

    def update(self) -> None:
        """Move the prices of every gate once, by the loads that it met in training mode since the last update."""
        for gate, balancer in zip(self._gates, self.balancers, strict=True):
            assert isinstance(balancer, LoadBalancer)
            balancer.update()
            with torch.no_grad():
                getattr(gate, BUFFER).copy_(balancer.bias)

    def remove(self) -> None:
        """Take the hooks away; the gates keep their biases."""
        for hook in self._hooks:
            hook.remove()


def _count(balancer: LoadBalancer, gate: nn.Module, _: Any, output: Any) -> None:
    if not gate.training:
        return
    parts = output if isinstance(output, tuple | list) else (output,)
    chosen = [part for part in parts if isinstance(part, Tensor) and not part.is_floating_point()]
    if len(chosen) != 1:
        raise ValueError(f"a gate must return one tensor of integers, its tokens' experts, got {len(chosen)}")
    balancer.record(torch.bincount(chosen[0].reshape(-1), minlength=balancer.n_experts))
