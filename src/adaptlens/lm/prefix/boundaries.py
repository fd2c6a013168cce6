"""Prompts and answers become token ids, exactly those of prompt and answer written as one text.

A tokenizer may join the end of a prompt and the start of an answer in one token. So an answer's
tokens are read off the whole text, never off the answer alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from adaptlens.errors import UserError
from adaptlens.lm.load import LM
from adaptlens.lm.prefix.trie import Order, common, sort
from adaptlens.lm.prefix.walk import ForwardStats
from adaptlens.types import Prompt

# Texts that share fewer characters than this are tokenized whole.
_LEAST_SHARED = 256
# A shared text is cut at least this far before the texts part, and what both pieces say about the
# stretch in between must agree.
_MARGIN = 64
_TRIES = 8


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt, the answers to score after it, and who reads it.

    Attributes:
        prompt_ids: tokens before the answers, at least one.
        answers_ids: per answer its tokens, each at least one; empty where text is generated.
        variant: the variant of the weights that reads it.
        query_id: what errors call it.
        given: how many tokens each answer begins with that are read and not scored; empty for none.
    """

    prompt_ids: tuple[int, ...]
    answers_ids: tuple[tuple[int, ...], ...] = ()
    variant: int = 0
    query_id: str = field(default="", compare=False)
    given: tuple[int, ...] = ()


def encode(
    lm: LM,
    prompts: Sequence[Prompt],
    variants: Sequence[int] | None = None,
    *,
    work: ForwardStats | None = None,
) -> list[Request]:
    """Return the request of every prompt: `prompt_ids + answers_ids[c]` is the text's own ids.

    Where the last token of a prompt changes once an answer follows, scoring starts at the first
    token that differs, for all answers of the prompt alike, so that they are compared after the
    same tokens; `work.seams_moved` counts such prompts. (lm-evaluation-harness cuts at as many
    tokens as the prompt has without trailing spaces: the same place wherever the answer begins
    with the space or none of its characters join the prompt's.) A prompt without any token is
    given the BOS token, or EOS where there is none, as lm-evaluation-harness does. What an answer
    begins with and is only read (`Prompt.given`) ends at the first token that its text alone has
    not.

    Raises:
        UserError: an answer adds no token, two answers become the same tokens, or there is nothing
            to begin an empty prompt with.
    """
    texts: dict[str, int] = {}
    for prompt in prompts:
        written = (prompt.text + answer for answer in prompt.answers)
        for text in (prompt.text, *written, *_read_only(prompt)):
            texts.setdefault(text, len(texts))
    ids = encode_texts(lm, list(texts))
    requests = []
    for number, prompt in enumerate(prompts):
        alone = ids[texts[prompt.text]]
        whole = [ids[texts[prompt.text + answer]] for answer in prompt.answers]
        cut = min((common(alone, one) for one in whole), default=len(alone))
        if work is not None and cut < len(alone):
            work.seams_moved += 1
        read = [ids[texts[text]] for text in _read_only(prompt)]
        given = tuple(max(common(a, b) - cut, 0) for a, b in zip(read, whole, strict=True))
        for answer, one, skipped in zip(prompt.answers, whole, given, strict=True):
            if len(one) <= cut + skipped:
                raise UserError(
                    f"the answer {answer!r} adds no token to its prompt (query "
                    f"{prompt.query_id or number}); give answers that contain text."
                )
        before = tuple(alone[:cut]) or (_beginning(lm),)
        answers = tuple(tuple(one[cut:]) for one in whole)
        _check_apart(lm, prompt, answers)
        variant = variants[number] if variants else 0
        given = given if any(prompt.given) else ()
        requests.append(Request(before, answers, variant, prompt.query_id, given))
    return requests


def _read_only(prompt: Prompt) -> list[str]:
    """Return the texts, prompt and all, up to where each answer is scored."""
    sizes = prompt.given or (0,) * len(prompt.answers)
    return [prompt.text + a[:size] for a, size in zip(prompt.answers, sizes, strict=True)]


def _check_apart(lm: LM, prompt: Prompt, answers: Sequence[tuple[int, ...]]) -> None:
    """Refuse answers that are different texts and the same tokens (unknown words, case)."""
    if len({*answers}) == len({*prompt.answers}):
        return
    for (one, its), (other, others) in combinations(zip(prompt.answers, answers, strict=True), 2):
        if its == others and one != other:
            raise UserError(
                f"the answers {one!r} and {other!r} become the same tokens for '{lm.name}' (query "
                f"{prompt.query_id or 'without a name'}), so no score can tell them apart; write "
                "them in words that its tokenizer knows, or use another model."
            )


def _beginning(lm: LM) -> int:
    """Return the token that stands before a text where nothing else does."""
    for token in (lm.tokenizer.bos_token_id, *lm.eos_ids):
        if token is not None:
            return token
    raise UserError(
        f"a prompt is empty and the tokenizer of {lm.name} has neither a BOS nor an EOS token to "
        "begin with; write an instruction or a query."
    )


def encode_texts(lm: LM, texts: Sequence[str]) -> list[list[int]]:
    """Return `lm.encode` of every text; a long beginning that many share is tokenized once.

    The beginning is cut at a token boundary well before the texts part. The cut is used only if
    tokenizing the rest alone gives the tokens of the whole: checked in full on the first and the
    last text of a group, and on every other over the stretch between the cut and where the texts
    part. Where it fails, texts are tokenized whole.
    """
    if not getattr(lm.tokenizer, "is_fast", False):
        return lm.encode_all(list(texts))
    order = sort(texts)
    found: dict[int, list[int]] = {}
    alone: list[int] = []
    for low, high in _groups(order, 0, len(texts))[1] if texts else []:
        numbers = [int(n) for n in order.numbers[low:high]]
        shared = order.depth(low, high)
        part = _by_tails(lm, [texts[n] for n in numbers], shared) if high - low > 1 else None
        if part is None:
            alone += numbers
        else:
            found.update(zip(numbers, part, strict=True))
    found.update(zip(alone, lm.encode_all([texts[n] for n in alone]), strict=True))
    return [found[n] for n in range(len(texts))]


def _groups(order: Order, low: int, high: int) -> tuple[int, list[tuple[int, int]]]:
    """Return ranges of texts to tokenize together, and the characters that takes."""
    whole = int(order.lengths[low:high].sum())
    ranges = [(i, i + 1) for i in range(low, high)]
    if high - low < 2:
        return whole, ranges
    shared = order.depth(low, high)
    if shared >= _LEAST_SHARED:
        together = whole - (high - low - 2) * (shared - _MARGIN)
        if together < whole:
            whole, ranges = together, [(low, high)]
    if order.shared[low + 1 : high].max() > max(shared, _LEAST_SHARED):
        parts = [_groups(order, a, b) for a, b in order.children(low, high)]
        if sum(cost for cost, _ in parts) < whole:
            return sum(cost for cost, _ in parts), [r for _, some in parts for r in some]
    return whole, ranges


def _by_tails(lm: LM, texts: list[str], shared: int) -> list[list[int]] | None:
    """Return the ids of texts whose first `shared` characters agree, or None if a check fails."""
    first = lm.tokenizer(texts[0], add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = first.input_ids, first.offset_mapping
    inside = [i for i in range(1, len(ids)) if offsets[i][0] <= shared - _MARGIN]
    for i in inside[: -_TRIES - 1 : -1]:
        cut = offsets[i][0]
        if offsets[i - 1][1] != cut:
            continue
        if _tokens(lm, [texts[0][cut:]])[0] != ids[i:]:
            continue
        tails = [ids[i:], *_tokens(lm, [text[cut:] for text in texts[1:]])]
        agreed = [j for j in range(i, len(ids)) if offsets[j][1] <= shared - _MARGIN // 4]
        stretch = ids[i : agreed[-1] + 1] if agreed else []
        if not stretch or any(tail[: len(stretch)] != stretch for tail in tails):
            return None
        whole = [
            [*lm.prefix_of(text), *ids[:i], *tail] for text, tail in zip(texts, tails, strict=True)
        ]
        known = lm.model.get_input_embeddings().num_embeddings
        if max(map(max, whole)) >= known or (len(texts) > 3 and lm.encode(texts[-1]) != whole[-1]):
            return None
        return whole
    return None


def _tokens(lm: LM, texts: list[str]) -> list[list[int]]:
    """Return the ids of pieces of text, nothing put before or after them."""
    return lm.tokenizer(texts, add_special_tokens=False, return_attention_mask=False).input_ids
