"""A model in the tangent space of its parameters: f(x; θ) + J(x; θ)·τ instead of f(x; θ + τ).

The product of Jacobian and tangent τ comes with the pass itself, by forward-mode differentiation: every tuned parameter is a
dual number θ + ε·τ, and so is what the module makes of it. Going backward through that gives the gradient for τ. Attention
takes its plain form, as its fused kernels know no dual numbers.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def duals(module: nn.Module, tangents: Mapping[nn.Parameter, torch.Tensor]) -> Iterator[None]:
    """Inside the block these parameters of the module are dual; gradients reach the tangents alone, not the parameters.

    One block at a time: blocks do not nest.
    """
    places = [
        (owner, name, parameter)
        for owner in module.modules()
        for name, parameter in owner._parameters.items()  # tied parameters have several places
        if parameter is not None and parameter in tangents
    ]
    with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
        dual = {parameter: forward_ad.make_dual(parameter.detach(), tangent) for parameter, tangent in tangents.items()}
        for owner, name, parameter in places:
            owner._parameters[name] = dual[parameter]
        try:
            yield
        finally:
            for owner, name, parameter in places:
                owner._parameters[name] = parameter


def expanded(output: torch.Tensor) -> torch.Tensor:
    """f + J·τ of a module's output inside ``duals``; outside, the output as it is."""
    primal, tangent = forward_ad.unpack_dual(output)
    return primal if tangent is None else primal + tangent
