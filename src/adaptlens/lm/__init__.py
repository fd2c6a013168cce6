"""The language model, made fast: load, describe, score, generate, read states."""
