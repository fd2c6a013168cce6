"""Who finds a hidden shortcut, and by which circuits?

The study of arXiv 2410.04691, on any model.
"""
