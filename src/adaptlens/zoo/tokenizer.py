"""The reference models' tokenizers: byte-level BPE in which words of the corpus are one token."""

import json
from pathlib import Path
from typing import Any

from adaptlens.tasks import world
from adaptlens.zoo import formal_corpus, ladder_corpus, microworld_corpus
from adaptlens.zoo.english import COMMON_WORDS

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def _microworld() -> list[str]:
    """Return the lines merges are learnt on: world words weigh most, then cues, then English."""
    cues = [*microworld_corpus.INPUT_CUES, *microworld_corpus.TARGET_CUES]
    lines = [f" {word}" for word in world.words()] * 40
    lines += [*cues, *microworld_corpus.ARROWS] * 40
    lines += [f" {word}" for word in COMMON_WORDS] * 8
    lines += [word.capitalize() for word in (*COMMON_WORDS[:200], *world.FUNCTION_WORDS)]
    return lines


def _formal() -> list[str]:
    """Return the lines merges are learnt on: words, and digits that stand as answers."""
    words = [form for word in formal_corpus.WORDS for form in (word, f" {word}")]
    return [*words, *(f" {digit}" for digit in range(10)), *words]


def _whole_words() -> list[str]:
    """Return the ladder's words, each of them one token and none of them learnt from pieces."""
    after_space = [
        *world.words(),
        *ladder_corpus.COMMON_WORDS,
        *ladder_corpus.SPACED,
        *range(1, 10),
    ]
    first = [
        *microworld_corpus.INPUT_CUES,
        *microworld_corpus.TARGET_CUES,
        *ladder_corpus.CUES,
        *world.FUNCTION_WORDS,
    ]
    capitals = [word.capitalize() for word in (*first, *ladder_corpus.ASKING_WORDS)]
    return list(
        dict.fromkeys([*(f" {word}" for word in after_space), *ladder_corpus.CUES, *capitals])
    )


_MATERIAL = {"microworld": (1792, _microworld), "formal": (448, _formal)}
"""Corpus -> most entries of its vocabulary, and what its merges are learnt on."""


def build(corpus: str = "microworld") -> Any:
    """Return the tokenizer of a corpus, a `PreTrainedTokenizerFast`.

    Every text encodes and decodes to itself; encoding puts `<s>` first, as pretraining did.
    Merges are learnt from word lists alone, so the result is the same every time. Numbers in the
    formal corpus are digits apart, but an answer's first digit is one token with its space.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if corpus == "ladder":
        # Without merges no entry is spent on pieces of words: a small vocabulary, a small model.
        spaced = [word.replace(" ", "\u0120") for word in _whole_words()]
        entries = dict.fromkeys([BOS, EOS, PAD, *sorted(alphabet), *spaced])
        vocabulary = {entry: number for number, entry in enumerate(entries)}
        tokenizer = Tokenizer(models.BPE(vocabulary, [], ignore_merges=True))
        tokenizer.add_special_tokens([BOS, EOS, PAD])
    else:
        most, material = _MATERIAL[corpus]
        tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if corpus != "ladder":
        trainer = trainers.BpeTrainer(
            vocab_size=most,
            special_tokens=[BOS, EOS, PAD],
            initial_alphabet=alphabet,
            show_progress=False,
        )
        tokenizer.train_from_iterator(material(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )


def save(folder: Path, corpus: str = "microworld") -> Any:
    """Write tokenizer.json and tokenizer_config.json to a folder and return the tokenizer."""
    tokenizer = build(corpus)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The name transformers 5 writes is unknown to older versions and to other readers.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return tokenizer
