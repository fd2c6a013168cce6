"""The prices of a model: those given for it, a provider's list prices, those given for all."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from adaptlens.errors import UserError, listed, unknown

LISTED = {
    "input_million_tokens": "input_mtok",
    "cached_million_tokens": "cache_read_mtok",
    "output_million_tokens": "output_mtok",
}
"""What genai-prices calls each price of a million tokens."""


def prices_of(prices: Mapping[str, Any], model: str) -> dict[str, float]:
    """Return every price of one model, by the names of the settings.

    Prices of its tokens are its own, or all those given for every model: a model with one price of
    its own has none of the others'.

    Raises:
        UserError: genai-prices does not know a hosted model, or is not installed.
    """
    own = prices.get("models", {}).get(model, prices)
    tokens = {name: own[name] for name in LISTED if name in own}
    machine = {
        name: value for name, value in prices.items() if name not in (*LISTED, "hosted", "models")
    }
    return {**machine, **(list_prices(own["hosted"]) if "hosted" in own else {}), **tokens}


def check_prices(prices: Mapping[str, Any], models: Collection[str]) -> None:
    """Check that prices are those of models that are compared, and that each can be looked up.

    Raises:
        UserError: one is not; see `prices_of`.
    """
    for name in prices.get("models", {}):
        if name not in models:
            raise unknown("model in prices.models", name, models)
    for model in models:
        prices_of(prices, model)


def list_price_notes(prices: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know of list prices, a sentence for each hosted model."""
    sources = (prices, *prices.get("models", {}).values())
    notes = []
    for hosted in sorted({own["hosted"] for own in sources if "hosted" in own}):
        said = ", ".join(
            f"{price:g} {name.removesuffix('_million_tokens')}"
            for name, price in list_prices(hosted).items()
        )
        notes.append(
            f"prices of {hosted}, US dollars a million tokens ({said}): genai-prices "
            f"{version('genai-prices')}; those of the longest prompts and of batches are left out"
        )
    return notes


def list_prices(hosted: str) -> dict[str, float]:
    """Return a provider's list prices of a million tokens, in US dollars; nothing is fetched.

    Of prices that rise with the length of a prompt, the lowest; of those that change with the
    time of day or the date, the one of now.

    Args:
        hosted: "PROVIDER:MODEL".

    Raises:
        UserError: genai-prices does not know it, has no price for it, or is not installed.
    """
    try:
        from genai_prices.data_snapshot import get_snapshot
        from genai_prices.types import TieredPrices
    except ImportError as error:
        raise UserError(
            f"prices of '{hosted}' are looked up in genai-prices, which is not installed; "
            "install it with `pip install 'adaptlens[prices]'`, or give input_million_tokens and "
            "output_million_tokens."
        ) from error
    provider, _, name = hosted.partition(":")
    snapshot = get_snapshot()
    known = {one.id: one for one in snapshot.providers}
    if not name:
        raise UserError(
            f"hosted model '{hosted}': expected PROVIDER:MODEL, such as openai:gpt-5-mini; "
            f"providers: {listed(sorted(known))}."
        )
    if provider not in known:
        raise unknown("provider of prices", provider, known)
    try:
        _, model = snapshot.find_provider_model(name, known[provider], None, None)
    except LookupError as error:
        models = [one.id for one in known[provider].models]
        raise unknown(f"model of {provider} in genai-prices", name, models) from error
    found = model.get_prices(datetime.now(UTC))
    prices = {}
    for ours, theirs in LISTED.items():
        price = getattr(found, theirs, None)
        if price is not None:
            prices[ours] = float(price.base if isinstance(price, TieredPrices) else price)
    if "input_million_tokens" not in prices:
        raise UserError(
            f"genai-prices has no price for the input tokens of '{hosted}'; give "
            "input_million_tokens and output_million_tokens."
        )
    return prices
