"""Whether a generated answer is right: what is cut out of it, and compared with texts accepted.

Regular expressions, filters and options mean what they mean in lm-evaluation-harness (0.4.13):
`lm_eval.filters` and `lm_eval.api.metrics.exact_match_hf_evaluate`.
"""

import re
import string
from collections.abc import Sequence

from adaptlens.types import ExactMatch

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_DIGITS = str.maketrans("", "", string.digits)


def exact_match(output: str, accepted: Sequence[str], rule: ExactMatch | None = None) -> float:
    """Return 1.0 where what a model wrote is one of the accepted texts, else 0.0.

    Args:
        output: what it wrote.
        accepted: the right answers.
        rule: how they are compared; None for whole texts, blanks at their ends left out.
    """
    if rule is None:
        return float(any(output.strip() == text.strip() for text in accepted))
    found = _compared(filtered(output, rule), rule)
    return float(any(found == _compared(text, rule) for text in accepted))


def filtered(output: str, rule: ExactMatch) -> str:
    """Return what the filter of a rule cuts out of a model's text."""
    for step in rule.filter:
        output = _done(output, *step)
    return output


def _done(output: str, name: str | int, *arguments: str | int) -> str:
    """Return a text after one step."""
    if name == "regex":
        pattern, number, fallback = arguments
        return _found(output, str(pattern), int(number), str(fallback))
    return {"strip": output.strip, "lower": output.lower, "upper": output.upper}[str(name)]()


def _found(text: str, pattern: str, number: int, fallback: str) -> str:
    """Return match `number` of a pattern, of several groups the first that is not empty."""
    matches = re.findall(pattern, text)
    if not matches:
        return fallback
    match = matches[number]
    if isinstance(match, tuple):
        match = next(filter(None, match), fallback)
    return str(match).strip()


def _compared(text: str, rule: ExactMatch) -> str:
    for pattern in rule.ignored:
        text = re.sub(pattern, "", text)
    if rule.ignore_case:
        text = text.lower()
    if rule.ignore_punctuation:
        text = text.translate(_PUNCTUATION)
    return text.translate(_DIGITS) if rule.ignore_numbers else text
