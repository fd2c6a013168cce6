"""The outlines of marks, as the figures draw them."""

SHAPES = {
    "circle": "M5 0A5 5 0 1 1-5 0A5 5 0 1 1 5 0",
    "square": "M-4.5-4.5h9v9h-9Z",
    "triangle-up": "M0-5L5.5 4.5H-5.5Z",
    "triangle-down": "M0 5L5.5-4.5H-5.5Z",
    "triangle-right": "M5 0L-4.5 5.5V-5.5Z",
    "triangle-left": "M-5 0L4.5 5.5V-5.5Z",
    "diamond": "M0-6L6 0L0 6L-6 0Z",
    "arrow": "M0-6L4.5 0H1.7V6H-1.7V0H-4.5Z",
    "cross": "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4Z",
}
"""The outline of each mark, in a box from -6 to 6."""
