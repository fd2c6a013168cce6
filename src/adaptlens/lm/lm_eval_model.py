"""A model as lm-evaluation-harness asks models: shared prompts read once, the same numbers.

    import adaptlens.lm.lm_eval_model
    lm_eval.simple_evaluate(model="adaptlens", model_args={"pretrained": "gpt2"}, tasks=["sst2"])

Importing this module registers it under the name `adaptlens`. lm-evaluation-harness 0.4.13 looks
for models in its own list alone, not among the entry points of other packages; so its command is
started by `adaptlens lm-eval`, which imports this first. Needs the extra `lm-eval`.

What is scored is cut into tokens as its Hugging Face backend does (0.4.13,
`lm_eval.api.model.TemplateLM._encode_pair`); what is written ends where that backend ends it.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from adaptlens.errors import UserError, listed, unknown
from adaptlens.lm.generate import generate
from adaptlens.lm.load import LM, load
from adaptlens.lm.prefix.boundaries import Request, encode_texts
from adaptlens.lm.score import score

ARGUMENTS = ("pretrained", "dtype", "device", "quantize")
"""What `--model_args` may hold."""

# Whatever they say, greedy decoding is what it is.
_WITHOUT_EFFECT = ("do_sample", "temperature", "top_p", "top_k", "min_p", "use_cache")

_log = logging.getLogger(__name__)

Pair = tuple[tuple[str, str] | None, list[int], list[int]]
"""Texts of context and continuation (None where nothing is to be cached), and their tokens."""


@register_model("adaptlens")
class AdaptlensLM(TemplateLM):
    """A causal language model whose prompts are one prefix tree.

    Attributes:
        lm: the model.
    """

    def __init__(
        self,
        pretrained: str | LM,
        *,
        dtype: str = "float32",
        device: str | None = None,
        quantize: str | None = None,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        **others: Any,
    ) -> None:
        """Load the model.

        Args:
            pretrained: a name that `adaptlens.lm.load.load` takes, or what it returned.
            dtype: "float32", "bfloat16", "float16" or "auto".
            device: "cpu", "cuda", "cuda:N" or "mps"; what there is unless given, or where there
                is no such GPU, as the hf backend does.
            quantize: "8bit" or "4bit".
            batch_size: not needed: free memory decides how much is read at once.
            max_batch_size: likewise.
            others: refused by name.

        Raises:
            UserError: an argument that is not known, or a model that cannot be had.
        """
        super().__init__()
        for name in others:
            raise unknown("argument in --model_args", name, ARGUMENTS)
        if isinstance(pretrained, str):
            # The command's own --device is "cuda:0" where the user gives none.
            missing = str(device).startswith("cuda") and not torch.cuda.is_available()
            where = "auto" if device is None or missing else device
            pretrained = load(pretrained, dtype=dtype, device=where, quantize=quantize)
        begins = pretrained.tokenizer.decode(_prefix_id(pretrained))
        # A text that begins with BOS itself (a chat template wrote it) is given no second one.
        self.lm = replace(pretrained, chat_start=begins if pretrained.prefix_ids else "")
        self.tokenizer = self.lm.tokenizer
        self._device: torch.device = self.lm.device

    @property
    def tokenizer_name(self) -> str:
        """What request caches call the tokenizer."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before an empty context: BOS, or EOS where there is none."""
        return _prefix_id(self.lm)

    @property
    def max_length(self) -> int:
        """The most tokens that are read at once."""
        return self.lm.context_tokens

    @property
    def max_gen_toks(self) -> int:
        """The most tokens of an answer whose task does not say."""
        return 256

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        """Return the tokens of a text, BOS first where the tokenizer puts it there."""
        if add_special_tokens is False:
            return list(self.tokenizer(string, add_special_tokens=False).input_ids)
        return self.lm.encode(string)

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Return messages as the tokenizer's template writes them.

        Raises:
            UserError: it has none.
        """
        if not self.tokenizer.chat_template:
            raise UserError(
                f"the tokenizer of '{self.lm.name}' has no chat template; leave out "
                "--apply_chat_template, or use a model that has one."
            )
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def loglikelihood(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """Return per (context, continuation) its log-likelihood, and whether it is greedy."""
        pairs = [(request.args[0], request.args[1]) for request in requests]
        return self._loglikelihood_tokens(self._encoded(pairs), disable_tqdm=disable_tqdm)

    def _encoded(self, pairs: Sequence[tuple[str, str]]) -> list[Pair]:
        """Return the pairs in tokens; blanks that end a context begin the continuation."""
        moved: list[tuple[str, str]] = []
        for context, continuation in pairs:
            bare = context.rstrip()
            moved.append((bare, context + continuation) if context else ("", continuation))
        texts = dict.fromkeys(text for pair in moved if pair[0] for text in pair)
        ids = dict(zip(texts, encode_texts(self.lm, list(texts)), strict=True))
        encoded: list[Pair] = []
        for pair, (context, whole) in zip(pairs, moved, strict=True):
            if context:
                before = ids[context]
                after = ids[whole][len(before) :]
            else:
                before, after = [self.prefix_token_id], self.tok_encode(whole, False)
                if after[:1] == before:
                    after = after[1:]
            encoded.append((pair, before, after))
        return encoded

    def _loglikelihood_tokens(
        self, requests: Sequence[Pair], disable_tqdm: bool = False, **_: Any
    ) -> list[tuple[float, bool]]:
        """Return the same of tokens; contexts that are equal are asked once."""
        numbers: dict[tuple[int, ...], int] = {}
        answers: list[dict[tuple[int, ...], int]] = []
        places = []
        for texts, context, continuation in requests:
            before = tuple(self._fitting(context, continuation, texts))
            number = numbers.setdefault(before, len(numbers))
            if number == len(answers):
                answers.append({})
            place = answers[number].setdefault(tuple(continuation), len(answers[number]))
            places.append((number, place))
        asked = [Request(before, tuple(own)) for before, own in zip(numbers, answers, strict=True)]
        greedy: list[np.ndarray] = []
        with _Bar("Running loglikelihood requests", disable_tqdm) as bar:
            logliks = score(self.lm, asked, progress=bar.report, greedy=greedy)
        found = [(float(logliks[n][c]), bool(greedy[n][c])) for n, c in places]
        for (texts, _context, _continuation), one in zip(requests, found, strict=True):
            if texts is not None:
                self.cache_hook.add_partial("loglikelihood", texts, one)
        return found

    def _fitting(
        self, context: list[int], continuation: list[int], texts: tuple[str, str] | None
    ) -> list[int]:
        """Return the end of a context that the model can read before a continuation.

        Raises:
            UserError: the continuation has no token, or none of the context has room before it.
        """
        room = self.max_length + 1 - len(continuation)
        if not continuation or room < 1:
            raise UserError(
                f"the continuation {(texts or ('', ''))[1][:40]!r} has {len(continuation)} tokens; "
                f"expected 1 to {self.max_length}, the most that '{self.lm.name}' reads."
            )
        if len(context) > room:
            _log.warning(
                "a context of %s tokens and its continuation of %s are longer than the %s that "
                "'%s' reads: %s tokens are left out at the beginning, as the hf backend does",
                len(context), len(continuation), self.max_length, self.lm.name,
                len(context) - room,
            )  # fmt: skip
        return context[-room:]

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Return the log-likelihood of each text, in windows where it is longer than the context.

        The windows are those of lm-evaluation-harness.
        """
        owners: list[int] = []
        windows: list[Pair] = []
        texts = [request.args[0] for request in requests]
        for number, ids in enumerate(encode_texts(self.lm, texts)):
            for window in get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1):
                context, continuation = make_disjoint_window(window)
                owners.append(number)
                windows.append((None, context, continuation))
        sums = [0.0] * len(texts)
        found = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
        for number, (loglik, _) in zip(owners, found, strict=True):
            sums[number] += loglik
        for text, value in zip(texts, sums, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", (text,), value)
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Return what is written greedily after each context, up to a text that ends it.

        Raises:
            UserError: the task samples, or asks for what greedy decoding does not do.
        """
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(self._wishes(request.args[1]), []).append(number)
        written = [""] * len(requests)
        with _Bar("Running generate_until requests", disable_tqdm) as bar:
            for (most, until), numbers in groups.items():
                texts = [requests[n].args[0] for n in numbers]
                asked = [self._prompt(ids, most) for ids in encode_texts(self.lm, texts)]
                found = generate(self.lm, asked, most, until, progress=bar.report)
                bar.done(len({request.prompt_ids for request in asked}))
                for number, text in zip(numbers, found, strict=True):
                    written[number] = text
                    self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return written

    def _wishes(self, asked: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
        """Return the most tokens and the ends of an answer, of what a task says of generating."""
        kwargs = normalize_gen_kwargs(asked, self.max_gen_toks)
        eos = self.tokenizer.decode(self.eot_token_id)
        until = handle_stop_sequences(kwargs.pop("until", None), eos=eos)
        most = int(kwargs.pop("max_gen_toks"))
        if kwargs.get("num_beams") == 1:
            kwargs.pop("num_beams")
        others = [key for key in kwargs if key not in _WITHOUT_EFFECT]
        if kwargs.get("do_sample") or others:
            what = "do_sample: true" if kwargs.get("do_sample") else listed(others)
            raise UserError(
                f"the task asks for generation with {what}; --model adaptlens decodes greedily; "
                "give --gen_kwargs do_sample=false, or use --model hf for this task."
            )
        return most, tuple(text for text in until if text)

    def _prompt(self, ids: list[int], most: int) -> Request:
        """Return the request for an answer; the end of a prompt that leaves no room for it.

        Raises:
            UserError: the answer alone fills the context.
        """
        room = self.max_length - most
        if room < 1:
            raise UserError(
                f"an answer of up to {most} tokens was asked for, and '{self.lm.name}' reads "
                f"{self.max_length} with the prompt; give --gen_kwargs max_gen_toks=N."
            )
        if len(ids) > room:
            _log.warning(
                "a prompt of %s tokens leaves no room for an answer of up to %s: %s are left out "
                "at its beginning, as the hf backend does",
                len(ids), most, len(ids) - room,
            )  # fmt: skip
        return Request(tuple(ids[-room:]) or (self.prefix_token_id,))


def _prefix_id(lm: LM) -> int:
    own = lm.tokenizer.bos_token_id
    return int(lm.tokenizer.eos_token_id if own is None else own)


class _Bar(tqdm):
    """A bar of lm-evaluation-harness's looks, told how many are done and how many there are."""

    def __init__(self, said: str, hidden: bool) -> None:
        super().__init__(desc=said, disable=hidden)
        self.before = 0

    def report(self, done: int, total: int) -> None:
        """Show that so many of these are done."""
        self.total = self.before + total
        self.update(self.before + done - self.n)

    def done(self, total: int) -> None:
        """Count these as done before what comes next."""
        self.before += total
