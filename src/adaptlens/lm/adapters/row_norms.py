"""The norms of a weight's rows under LoRA, for DoRA, without forming the sum of both.

DoRA (Liu et al. 2024, arXiv 2402.09353, equation 5) gives row o of `W + s B A` the trained norm
m[o]. With b row o of B, that row's own norm is

    ||W[o] + s b A||^2 = ||W[o]||^2 + 2 s b . (W[o] A^T) + s^2 b (A A^T) b^T

which takes products as small as LoRA's own for every adapter.
"""

from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from adaptlens.errors import UserError


class RowNorms:
    """The norms of one linear map's rows, a row being what makes one output.

    Args:
        module: a linear map, or GPT-2's transposed one.
        name: its name, for errors.

    Raises:
        UserError: its weight is stored in other than floating-point numbers.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        if not weight.is_floating_point() or type(module).__name__ not in ("Linear", "Conv1D"):
            raise UserError(
                f"use_dora: {name} is a {type(module).__name__} with weights of {weight.dtype}, "
                "whose rows have no norms to train; load the model without quantization, or leave "
                "use_dora out."
            )
        self.module = module
        self._squares: Float32[Tensor, " out_width"] | None = None

    def _weight(self) -> Float32[Tensor, "out_width in_width"]:
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        rows = weight if isinstance(self.module, nn.Linear) else weight.T
        return rows.detach().float()

    def of_base(self) -> Float32[Tensor, " out_width"]:
        """Return the norms of the base's own rows."""
        return self._base_squares().sqrt()

    def _base_squares(self) -> Float32[Tensor, " out_width"]:
        if self._squares is None:
            self._squares = self._weight().square().sum(1)
        return self._squares

    def gain(
        self,
        a: Float[Tensor, "groups rank in_width"],
        b: Float[Tensor, "groups out_width rank"],
        m: Float[Tensor, "groups out_width"],
        scale: float,
    ) -> Float[Tensor, "groups out_width"]:
        """Return `m / ||W + scale B A||`, by row, in whose gradient the norm is a constant.

        As in the paper (section 4.3) and in PEFT.
        """
        with torch.no_grad():
            weight, squares = self._weight(), self._base_squares()
            a, b = (part.to(weight.device, weight.dtype) for part in (a, b))
            crossed = (b * (weight @ a.transpose(1, 2))).sum(2)
            own = (b @ (a @ a.transpose(1, 2)) * b).sum(2)
            norms = (squares + 2 * scale * crossed + scale**2 * own).clamp_min(0).sqrt()
        return m.to(norms.device) / norms

    def product(self, x: Float[Tensor, "groups rows in_width"]) -> Float[Tensor, "groups rows _"]:
        """Return `W x`."""
        return x @ self._weight().to(x.device).T

    def without_bias(
        self, output: Float[Tensor, "groups rows out_width"]
    ) -> Float[Tensor, "groups rows out_width"]:
        """Return what the map puts out less its bias."""
        bias: Any = self.module.bias
        return output if bias is None else output - bias.to(output.device, output.dtype)
