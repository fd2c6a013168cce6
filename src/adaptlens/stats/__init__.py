"""Inference on scores and states over queries, draws, templates, tasks."""
