"""Shared prefixes read once: the tree, the schedule, the passes."""
