"""The reference model's tokenizer: byte-level BPE in which a word of the world is one token."""

import json
from pathlib import Path
from typing import Any

from adaptlens.tasks import world
from adaptlens.zoo import microworld
from adaptlens.zoo.english import COMMON_WORDS

VOCAB = 1792
BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def _material() -> list[str]:
    """Return the lines merges are learnt on: world words weigh most, then cues, then English."""
    cues = [*microworld.INPUT_CUES, *microworld.TARGET_CUES]
    lines = [f" {word}" for word in world.words()] * 40
    lines += [*cues, *microworld.ARROWS] * 40
    lines += [f" {word}" for word in COMMON_WORDS] * 8
    lines += [word.capitalize() for word in (*COMMON_WORDS[:200], *world.FUNCTION_WORDS)]
    return lines


def build() -> Any:
    """Return the tokenizer, a `PreTrainedTokenizerFast` of at most `VOCAB` entries.

    Every text encodes and decodes to itself; encoding puts `<s>` first, as pretraining did.
    Merges are learnt from word lists alone, so the result is the same every time.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_material(), trainer)
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


def save(folder: Path) -> Any:
    """Write tokenizer.json and tokenizer_config.json to a folder and return the tokenizer."""
    tokenizer = build()
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    # The name transformers 5 writes is unknown to older versions and to other readers.
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return tokenizer
