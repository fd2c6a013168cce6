"""Hidden states and attention's outputs at chosen tokens, and how answers are read there."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from adaptlens.lm.architecture import Architecture
from adaptlens.lm.finite import check_finite
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.forward import (
    ForwardRequest,
    ForwardStates,
    Progress,
    run_forward,
)
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.types import Weights


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Hidden states of prompts.

    Attributes:
        residual: the residual stream: what enters layer 0, then what leaves each layer. The last
            is *before* the final norm, unlike Transformers' `hidden_states[-1]`, which is after it
            in most families.
        final: the last of them after the final norm: what the unembedding reads.
    """

    residual: Float32[np.ndarray, "queries layers_and_embedding width"]
    final: Float32[np.ndarray, "queries width"]


@dataclass(frozen=True, slots=True)
class Place:
    """Some tokens of a text, over which states are averaged.

    Attributes:
        ids: the text up to the last of these tokens; what follows cannot change their states.
        tokens: which of `ids`, counted from its end: 1 is the last.
        variant: the variant of the weights that reads it.
        answered: how many of the last of `ids` are the prompt's last token, or come after it; 0
            where the text ends within the prompt.
    """

    ids: tuple[int, ...]
    tokens: tuple[int, ...] = (1,)
    variant: int = 0
    answered: int = 1


def states_at(
    lm: LM,
    places: Sequence[Place],
    weights: Weights | None = None,
    *,
    budget_bytes: int | None = None,
    progress: Progress | None = None,
    work: ForwardStats | None = None,
) -> States:
    """Return the states at each place, the mean over its tokens where it has several.

    Equal places are read once. `final` is the mean of the normed states.

    Raises:
        UserError: the model's inside is not known, a text does not fit, or a state is not finite.
    """
    numbers: dict[Place, int] = {}
    owner = [
        numbers.setdefault(replace(place, variant=place.variant if weights else 0), len(numbers))
        for place in places
    ]
    wanted = list(numbers)
    residual: list[np.ndarray] = [np.zeros(0)] * len(wanted)
    final: list[np.ndarray] = [np.zeros(0)] * len(wanted)

    def on_states(found: ForwardStates) -> None:
        assert found.residual is not None and found.final is not None
        streams, normed = found.residual.cpu().numpy(), found.final.float().cpu().numpy()
        for n, nodes in found.nodes.items():
            at = nodes[[-back for back in wanted[n].tokens]]
            residual[n], final[n] = streams[at].mean(0), normed[at].mean(0)

    request = ForwardRequest(
        sequences=[place.ids for place in wanted],
        first=[len(place.ids) - max(place.tokens) for place in wanted],
        answered=[len(place.ids) - place.answered for place in wanted],
        variants=[place.variant for place in wanted],
        layers=True,
    )
    run_forward(
        lm,
        request,
        on_states,
        weights=weights,
        budget_bytes=budget_bytes,
        progress=progress,
        work=work,
    )
    states = States(np.stack([residual[n] for n in owner]), np.stack([final[n] for n in owner]))
    for found in (states.residual, states.final):
        check_finite(found, lm.name, "a hidden state")
    return states


def attention_outputs(
    lm: LM,
    sequences: Sequence[Sequence[int]],
    first: Sequence[int],
    *,
    work: ForwardStats | None = None,
) -> list[Float32[np.ndarray, "tokens layers width"]]:
    """Return what the attention of each layer puts out, after its projection, token by token.

    Args:
        lm: the model.
        sequences: token ids of each text.
        first: per text, the first token it is wanted at; those after it are, too.
        work: counters to add to.

    Raises:
        UserError: the model's inside is not known, a text does not fit, or an output is not finite.
    """
    outputs: list[np.ndarray] = [np.zeros(0)] * len(sequences)

    def on_states(found: ForwardStates) -> None:
        assert found.attention is not None
        for n, nodes in found.nodes.items():
            outputs[n] = found.attention[torch.from_numpy(nodes)].cpu().numpy()

    run_forward(lm, ForwardRequest(sequences, first, attention=True), on_states, work=work)
    for own in outputs:
        check_finite(own, lm.name, "an output of attention")
    return outputs


@torch.inference_mode()
def lens(
    lm: LM,
    residual: Float32[np.ndarray, "*rows width"],
    tokens: Sequence[int],
    *,
    chunk_bytes: int = 2**28,
) -> Float32[np.ndarray, "*rows {len(tokens)+1}"]:
    """Return what every layer's states would say if they were the last: the logit lens.

    The log-probability of each of `tokens` as the next one, and last that of all other tokens
    together, read through the model's own final norm and unembedding.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    assert lm.architecture is not None
    parts, flat = lm.architecture, residual.reshape(-1, residual.shape[-1])
    wanted = torch.tensor(list(tokens), device=lm.device)
    rows = max(chunk_bytes // (8 * parts.vocab), 1)
    found = []
    for low in range(0, len(flat), rows):
        states = torch.from_numpy(np.ascontiguousarray(flat[low : low + rows]))
        states = states.to(lm.device, parts.dtype)
        normed = states if parts.final_norm is None else parts.final_norm(states)
        logs = parts.logits(normed).to(lm.device).float().log_softmax(-1)
        chosen = logs[:, wanted]
        others = logs.index_fill(1, wanted, -torch.inf).logsumexp(-1, keepdim=True)
        found.append(torch.cat([chosen, others], -1).cpu().numpy())
    return np.concatenate(found).reshape(*residual.shape[:-1], len(wanted) + 1)


@torch.inference_mode()
def readout(
    lm: LM, tokens: Sequence[int]
) -> tuple[Float32[np.ndarray, "{len(tokens)} width"], Float32[np.ndarray, "{len(tokens)} width"]]:
    """Return the vectors that the logits of some tokens are read with.

    The first are those in the residual stream out of the last layer: the logits
    of two tokens at a state x differ by the difference of their vectors times x, up to a factor
    above 0 that depends on x (the final norm divides by the size of x) and a constant (its bias
    and the unembedding's). The second are those after the final norm: rows of the unembedding.
    Where the norm takes the mean off, so do the first. A cap on the logits keeps their order, so
    it changes nothing here.
    """
    assert lm.architecture is not None
    parts = lm.architecture
    rows = _unembedding_rows(parts, tokens, lm.device)
    if parts.final_norm is None:
        return rows.cpu().numpy(), rows.cpu().numpy()
    probe = torch.ones(parts.width, device=lm.device)
    probe[::2] = -1
    probe -= probe.mean()  # Of odd width, too, so that a norm that takes off the mean does not.

    def normed(states: Float[Tensor, " width"]) -> Float32[Tensor, " width"]:
        assert parts.final_norm is not None
        return parts.final_norm(states.to(parts.dtype)).to(lm.device).float()

    scaled = (normed(probe) - normed(-probe)) / 2 / probe * rows
    centers = torch.allclose(normed(probe + 1), normed(probe), rtol=1e-2, atol=1e-2)
    if centers:
        scaled = scaled - scaled.mean(-1, keepdim=True)
    return scaled.cpu().numpy(), rows.cpu().numpy()


def _unembedding_rows(
    parts: Architecture, tokens: Sequence[int], device: torch.device
) -> Float32[Tensor, "{len(tokens)} width"]:
    """Return the rows by which the unembedding multiplies, as it now runs.

    They are the gradients of its logits, so that whatever is installed on it has its part.
    """
    which = torch.tensor(list(tokens), device=device)
    with torch.inference_mode(False), torch.enable_grad():
        states = torch.zeros(len(which), parts.width, dtype=parts.dtype, device=which.device)
        states.requires_grad_()
        own = parts.unembed(states).to(device).gather(1, which.clone()[:, None])
        return torch.autograd.grad(own.sum(), states)[0].float()


@contextlib.contextmanager
def as_variant(weights: Weights | None, variant: int) -> Iterator[None]:
    """Run the model as one variant: its layers, final norm and unembedding."""
    if weights is None:
        yield
    else:
        with weights.routed([variant]):
            yield
