"""Keys and values: of a prefix that many rows read, and of rows that grow token by token."""

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor, cat
from transformers.cache_utils import Cache, DynamicLayer

New = Float[Tensor, "batch kv_heads seq head_width"]
Grown = Float[Tensor, "batch kv_heads keys head_width"]


class FrozenLayer(DynamicLayer):
    """Keys and values of a prefix, lent to every row of a forward pass and kept unchanged."""

    def __init__(self, grown: DynamicLayer):
        super().__init__()
        assert grown.keys is not None and grown.values is not None
        self.keys, self.values = grown.keys, grown.values
        self.dtype, self.device = grown.keys.dtype, grown.keys.device
        self.is_initialized = True

    def update(
        self, key_states: New, value_states: New, *args: object, **kwargs: object
    ) -> tuple[Grown, Grown]:
        """Return prefix and new keys and values."""
        assert self.keys is not None and self.values is not None
        batch = key_states.shape[0]
        keys = self.keys.expand(batch, -1, -1, -1)
        values = self.values.expand(batch, -1, -1, -1)
        return cat([keys, key_states], dim=-2), cat([values, value_states], dim=-2)


class RowsLayer(DynamicLayer):
    """Keys and values of rows that grow in place, up to a size known from the start.

    Transformers' own layer copies everything once a token; here a token is written where it goes.
    """

    def __init__(self, prefix: DynamicLayer | None, most_tokens: int):
        super().__init__()
        self.prefix, self.most_tokens, self.used = prefix, most_tokens, 0

    def update(
        self, key_states: New, value_states: New, *args: object, **kwargs: object
    ) -> tuple[Grown, Grown]:
        """Return all keys and values so far."""
        batch, heads, new, width = key_states.shape
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.keys = key_states.new_zeros(batch, heads, self.most_tokens, width)
            self.values = value_states.new_zeros(
                batch, heads, self.most_tokens, value_states.shape[-1]
            )
            if self.prefix is not None:
                assert self.prefix.keys is not None and self.prefix.values is not None
                self.used = self.prefix.keys.shape[2]
                self.keys[:, :, : self.used] = self.prefix.keys
                self.values[:, :, : self.used] = self.prefix.values
        assert self.keys is not None and self.values is not None
        self.keys[:, :, self.used : self.used + new] = key_states
        self.values[:, :, self.used : self.used + new] = value_states
        self.used += new
        return self.keys[:, :, : self.used], self.values[:, :, : self.used]

    def get_seq_length(self) -> int:
        """Return how many tokens every row holds, padding included."""
        return self.used

    def keep(self, rows: Int[Tensor, " kept"]) -> None:
        """Drop all rows but these, which are in order."""
        assert self.keys is not None and self.values is not None
        for held in (self.keys, self.values):
            held[: len(rows), :, : self.used] = held[rows, :, : self.used]
        self.keys, self.values = self.keys[: len(rows)], self.values[: len(rows)]


def frozen(layers: Sequence[DynamicLayer]) -> Cache | None:
    """Return the cache that lends these keys and values; None where there are none."""
    return Cache(layers=[FrozenLayer(layer) for layer in layers]) if layers else None


def copied(layers: Sequence[DynamicLayer]) -> list[DynamicLayer]:
    """Return layers with the same keys and values; growing them leaves the others as they are."""
    copies = []
    for layer in layers:
        copy = DynamicLayer()
        if layer.is_initialized and layer.keys is not None:
            copy.lazy_initialization(layer.keys, layer.keys)
            copy.keys, copy.values = layer.keys, layer.values
        copies.append(copy)
    return copies
