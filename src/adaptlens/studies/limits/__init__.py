"""Does tuned performance follow what the base does in context?

The study of arXiv 2501.08716, on any model.
"""
