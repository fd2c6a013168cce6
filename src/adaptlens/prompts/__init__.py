"""From examples to prompts: which are shown, in which order, how written."""
