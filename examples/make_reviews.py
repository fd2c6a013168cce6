"""Writes reviews.tsv, the file of the examples: 200 short reviews that nobody had to write.

    python examples/make_reviews.py > examples/reviews.tsv

They are made of a few words that the shipped model knows, from one seed.
"""

from random import Random

from adaptlens.tasks.world import ADVERBS, NEGATIVE, POSITIVE, REVIEWED

FORMS = (
    "the {thing} was {adverb} {word}",
    "a {adverb} {word} {thing}",
    "i found the {thing} {word} and {other}",
    "the {thing} felt {word} and {other}",
    "we saw a {word} {thing} and it was {adverb} {other}",
)
NEGATED = "the {thing} was not {word} at all"
"""Says the opposite of its word; one review in five does."""
ROWS = 200


def reviews(seed: int = 0) -> list[tuple[str, int]]:
    """Return distinct reviews with their labels, 1 for praise; as many of each."""
    random = Random(seed)
    found: dict[str, int] = {}
    while len(found) < ROWS:
        label = len(found) % 2
        negated = random.random() < 0.2
        word, other = random.sample(POSITIVE if label != negated else NEGATIVE, 2)
        text = (NEGATED if negated else random.choice(FORMS)).format(
            thing=random.choice(REVIEWED), adverb=random.choice(ADVERBS), word=word, other=other
        )
        found.setdefault(text, label)
    return [*found.items()]


if __name__ == "__main__":
    print("review\tlabel")
    for review, label in reviews():
        print(f"{review}\t{label}")
