"""Does in-context learning do to hidden states what tuning does?

The study of arXiv 2311.10367, on any model.
"""
