"""The language model, made fast: load, describe, read over a prefix tree, adapt in a bank."""
