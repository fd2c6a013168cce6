"""Training the whole ladder in turn: finished rungs are skipped, a broken one goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path

from adaptlens.zoo.pretrain import Progress, train
from adaptlens.zoo.recipes import LADDER, Recipe

_OVERHEAD_PARAMETERS = 150_000
"""What a token costs beside its products with the weights, as weights; measured on a CPU core."""


def cost(recipe: Recipe) -> float:
    """Return about what training costs, in tokens x parameters: good for shares of the whole."""
    tokens = sum(stage.steps * stage.rows * stage.row_tokens for stage in recipe.stages)
    matrices = 2 if recipe.family == "neox" else 3
    weights = recipe.layers * recipe.width * (4 * recipe.width + matrices * recipe.mlp_width)
    return tokens * (weights + _OVERHEAD_PARAMETERS)


def train_ladder(
    out: str | Path,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[str], Progress | None] = lambda name: None,
    recipes: dict[str, Recipe] = LADDER,
    **settings: int,
) -> Iterator[tuple[str, Path, float]]:
    """Train the rungs one after another into `out/NAME`, yielding each as it is finished.

    The same call skips what is finished and goes on from the last checkpoint of what is not.

    Args:
        out: folder of the ladder.
        seed: of weights and corpus, the same for all.
        device: see `train`.
        progress: name -> what is called after every step of that rung.
        recipes: name -> recipe, in order.
        settings: passed to `train`: checkpoint_every, queries.

    Yields:
        (name, its folder, the share of the ladder's cost that is done).

    Raises:
        UserError: the device is unknown, or `out` holds rungs with other settings.
    """
    total, done = sum(map(cost, recipes.values())), 0.0
    for name, recipe in recipes.items():
        folder = Path(out) / name
        train(
            name,
            seed=seed,
            out=folder,
            device=device,
            progress=progress(name),
            recipe=recipe,
            **settings,
        )
        done += cost(recipe)
        yield name, folder, done / total
