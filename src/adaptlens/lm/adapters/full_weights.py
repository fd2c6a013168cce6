"""All weights of the model, trained or swapped as one row of numbers, and put back exactly."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.lm.spread import check_whole


class FullParameters:
    """The model's own parameters, ready to train; the model is as before when `opened` ends.

    They are trained in float32 whatever the model's format: `master_weights`, float32
    [1, parameters], are what the optimizer moves, and the model runs on them rounded to its format.

    Raises:
        UserError: the weights are quantized, or float16 (whose gradients vanish).
    """

    dropout = 0.0

    def __init__(self, lm: LM):
        self.parameters = trainable_parameters(lm)
        numbers = [p.detach().float().flatten() for p in self.parameters]
        self.master_weights = torch.cat(numbers)[None]
        self.exact = all(p.dtype == torch.float32 for p in self.parameters)

    @contextmanager
    def opened(self) -> Iterator["FullParameters"]:
        """Let the model run on `master_weights` inside this context."""
        own = self.split(self.master_weights[0])
        if not self.exact:
            pairs = zip(own, self.parameters, strict=True)
            own = [numbers.to(p.dtype, copy=True) for numbers, p in pairs]
        with swapped(self.parameters, own):
            try:
                for parameter in self.parameters:
                    parameter.requires_grad_()
                yield self
            finally:
                for parameter in self.parameters:
                    parameter.grad = None
                    parameter.requires_grad_(False)

    @contextmanager
    def training(
        self,
        first: int,
        last: int,
        gradients: Float[Tensor, "1 parameters"],
        step: int = 0,
        block: int = 0,
    ) -> Iterator[None]:
        """Let backward passes inside add to `gradients`."""
        sums = self.split(gradients[0])
        for parameter, total in zip(self.parameters, sums, strict=True):
            parameter.grad = total if self.exact else None
        yield
        if not self.exact:
            for parameter, total in zip(self.parameters, sums, strict=True):
                if parameter.grad is not None:
                    total += parameter.grad

    def adapts(self, module: nn.Module) -> bool:
        """Return False: one variant is trained at a time."""
        return False

    def sync(self) -> None:
        """Round `master_weights` into the model, where they are not what it runs on already."""
        if not self.exact:
            for parameter, own in zip(
                self.parameters, self.split(self.master_weights[0]), strict=True
            ):
                parameter.data.copy_(own)

    def trained(self) -> list[Float[Tensor, "..."]]:
        """Return a copy of the parameters as the model runs on them, in host memory."""
        return [parameter.detach().to("cpu", copy=True) for parameter in self.parameters]

    def split(self, numbers: Float[Tensor, " parameters"]) -> list[Float[Tensor, "..."]]:
        """Return the views of one row of numbers that stand for the parameters, in their order."""
        parts = numbers.split([p.numel() for p in self.parameters])
        return [part.view(p.shape) for part, p in zip(parts, self.parameters, strict=True)]


class FullVariants:
    """R complete sets of weights of one model, in host memory, swapped in one at a time.

    Args:
        lm: the model.
        variants: per variant its parameters, as `FullParameters.trained` returns them.
        keep: whether `save` writes them. A set is as large as the model.
    """

    mixes_rows = False

    def __init__(self, lm: LM, variants: Sequence[Sequence[Tensor]], *, keep: bool = False):
        self.lm, self.variants, self.keep = lm, variants, keep
        self.num_variants = len(variants)

    @contextmanager
    def routed(self, variants: Sequence[int]) -> Iterator[None]:
        """Run the model as the one variant that all rows name; afterwards it is as before."""
        if len(set(variants)) != 1:
            raise RuntimeError(f"fully tuned weights run one variant at a time, not {variants}")
        with swapped(trainable_parameters(self.lm), self.variants[variants[0]]):
            yield

    def adapts(self, module: nn.Module) -> bool:
        """Return False: all rows of a pass are one variant's."""
        return False

    def save(self, folder: Path, names: Sequence[str]) -> None:
        """Write variant i to `folder/names[i]`, loadable by Transformers; nothing unless kept."""
        if not self.keep:
            return
        for variant, name in zip(range(self.num_variants), names, strict=True):
            with self.routed([variant]):
                self.lm.model.save_pretrained(folder / name)
            self.lm.tokenizer.save_pretrained(folder / name)


def trainable_parameters(lm: LM) -> list[nn.Parameter]:
    """Return every parameter once, tied ones too.

    Raises:
        UserError: they cannot be trained, or lie on several devices.
    """
    check_whole(lm, "full tuning")
    parameters = list(lm.model.parameters())
    if getattr(lm.model, "is_quantized", False) or any(
        not p.dtype.is_floating_point for p in parameters
    ):
        raise UserError(
            f"full tuning of model '{lm.name}' was asked for, but its weights are quantized; load "
            "it without quantization, or leave out full tuning."
        )
    if any(p.dtype == torch.float16 for p in parameters):
        raise UserError(
            f"full tuning of model '{lm.name}' was asked for in float16, whose gradients vanish; "
            "load it as float32 or bfloat16."
        )
    return parameters


@contextmanager
def swapped(parameters: Sequence[nn.Parameter], numbers: Sequence[Tensor]) -> Iterator[None]:
    """Give the parameters other numbers inside this context, and their own, unchanged, after it.

    Meanwhile the originals are in host memory.
    """
    originals = [parameter.data.to("cpu") for parameter in parameters]
    devices = [parameter.device for parameter in parameters]
    try:
        for parameter, other, device in zip(parameters, numbers, devices, strict=True):
            parameter.data = other.to(device)
        yield
    finally:
        for parameter, original, device in zip(parameters, originals, devices, strict=True):
            parameter.data = original.to(device)
