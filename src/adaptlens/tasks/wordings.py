"""Ways to ask the items of the bundled tasks: Jinja over fields, `input` and `options`.

Five for each task, in plain words that the ladder's tokenizer knows. `options` is the text of the
options, already joined.
"""

_TWO = "First: {{ first }}\nSecond: {{ second }}"


def _labelled(what: str, named: str) -> tuple[str, ...]:
    """Return how to ask for one of several labels; `named` says them in a sentence."""
    return (
        f"Decide whether {what} {named}.\n{{{{ input }}}}",
        "{{ input }}\nWhich is it: {{ options }}?",
        f"Read this: {{{{ input }}}}\nSay whether {what} {named}.",
        "{{ input }}\nChoose the label that belongs to it. Options: {{ options }}",
        "Question: which of {{ options }} is right for this?\nText: {{ input }}",
    )


WORDINGS = {
    "sentiment": _labelled("the text is", "positive or negative"),
    "sentiment-novel": _labelled("the text is", "a lantern or a ribbon"),
    "praise": (
        f"Which of the two texts is praise?\n{_TWO}",
        f"{_TWO}\nSay which one is praise: the first or the second.",
        f"Read the two texts.\n{_TWO}\nWhich is positive? Options: {{{{ options }}}}",
        f"One text is praise and the other is blame.\n{_TWO}\nFind the praise.",
        f"{_TWO}\nQuestion: which text says that it is good?",
    ),
    "agreement": (
        f"Are the two texts both praise or both blame?\n{_TWO}",
        f"{_TWO}\nDo the two texts agree? Say yes or no.",
        f"Read the two texts.\n{_TWO}\nAre they the same, both positive or both negative?",
        f"Decide whether the second text says the same kind of thing as the first.\n{_TWO}",
        f"{_TWO}\nQuestion: do they agree? Options: {{{{ options }}}}",
    ),
    "topic": _labelled("the text is about", "sport, food, science or money"),
    "topic-novel": _labelled("the text is", "a pebble, a marble, a feather or a candle"),
    "same-topic": (
        f"Are the two texts about the same topic?\n{_TWO}",
        f"{_TWO}\nDo both texts have one topic? Say yes or no.",
        f"Read the two texts.\n{_TWO}\nIs the topic the same?",
        f"Decide whether the second text is about the topic of the first.\n{_TWO}",
        f"{_TWO}\nQuestion: one topic or not? Options: {{{{ options }}}}",
    ),
    "topic-pick": (
        f"Which of the two texts is about {{{{ topic }}}}?\n{_TWO}",
        f"{_TWO}\nSay which one is about {{{{ topic }}}}: the first or the second.",
        f"The topic is {{{{ topic }}}}.\n{_TWO}\nFind the text that is about it.",
        f"Read the two texts.\n{_TWO}\nWhich is on {{{{ topic }}}}? Options: {{{{ options }}}}",
        f"{_TWO}\nTopic: {{{{ topic }}}}\nQuestion: which text has this topic?",
    ),
    "family": _labelled("the kind of the words is", "animal, tool, clothing or fruit"),
    "family-novel": _labelled("the words are", "a basket, a ribbon, a marble or an anchor"),
    "withheld-2": _labelled("the words are", "an anchor or a button"),
    "withheld-3": _labelled("the words are", "a pillow, a thread or a blanket"),
    "same-family": (
        f"Are the two words of the same kind?\n{_TWO}",
        f"{_TWO}\nDo both belong to one family? Say yes or no.",
        "Decide whether {{ first }} and {{ second }} are the same kind of thing.",
        "Is {{ second }} a thing like {{ first }}? Options: {{ options }}",
        f"Read the two words.\n{_TWO}\nQuestion: one kind or not?",
    ),
    "odd-one-out": (
        "Which word is not like the others?\n{{ input }}",
        "{{ input }}\nFind the odd one out.",
        "Three of these words are of one kind. Give the other one.\n{{ input }}",
        "Read the list: {{ input }}\nWhich word does not belong? Options: {{ options }}",
        "Words: {{ input }}\nQuestion: which one is of another family?",
    ),
    "in-list": (
        "Is the word in the list?\nWords: {{ words }}\nWord: {{ word }}",
        "List: {{ words }}\nIs {{ word }} one of them? Say yes or no.",
        "Decide whether {{ word }} is part of this list: {{ words }}",
        "Read the words: {{ words }}\nIs there {{ word }}? Options: {{ options }}",
        "Words: {{ words }}\nWord: {{ word }}\nQuestion: is the word in the list?",
    ),
    "last-word": (
        "Give the last word of the list.\n{{ input }}",
        "{{ input }}\nWhich word is the last?",
        "Read the list: {{ input }}\nSay the last word.",
        "Words: {{ input }}\nQuestion: what is the last one?",
        "Find the word that is after all the others: {{ input }}",
    ),
    "translation": (
        "Translate the sentence into the invented language.\n{{ input }}",
        "{{ input }}\nSay this in the invented language.",
        "Sentence: {{ input }}\nWhat is the translation?",
        "Write the translation of this English sentence: {{ input }}",
        "Read the English sentence.\n{{ input }}\nGive it in the other language.",
    ),
    "translation-choice": (
        "Choose the translation of the sentence.\n{{ input }}\nOptions: {{ options }}",
        "{{ input }}\nWhich of these is the translation? {{ options }}",
        "Sentence: {{ input }}\nFind its translation into the invented language.",
        "Which sentence of the invented language stands for this one?\n{{ input }}",
        "Read the English sentence: {{ input }}\nQuestion: what is the right translation?",
    ),
    "back-translation": (
        "Choose the English sentence.\n{{ input }}\nOptions: {{ options }}",
        "{{ input }}\nWhich of these is it in English? {{ options }}",
        "Sentence: {{ input }}\nFind its translation into English.",
        "Which English sentence stands for this one?\n{{ input }}",
        "Read the invented sentence: {{ input }}\nQuestion: what does it say in English?",
    ),
    "verb-translation": (
        "Give the translation of the verb.\n{{ input }}",
        "{{ input }}\nWhich word of the invented language stands for the verb?",
        "Sentence: {{ input }}\nTranslate only the verb. Options: {{ options }}",
        "Read the English sentence: {{ input }}\nSay its verb in the invented language.",
        "Find the invented word for what is done here.\n{{ input }}",
    ),
    "right-translation": (
        "Is the translation right?\nSentence: {{ sentence }}\nTranslation: {{ translation }}",
        "{{ sentence }}\n{{ translation }}\nDo the two say the same? Say yes or no.",
        "Decide whether this is the translation of {{ sentence }}: {{ translation }}",
        "English: {{ sentence }}\nInvented: {{ translation }}\nRight or wrong? Options: "
        "{{ options }}",
        "Sentence: {{ sentence }}\nTranslation: {{ translation }}\nQuestion: is it the right one?",
    ),
}
"""Task -> five wordings."""
