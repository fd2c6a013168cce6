"""Prompt or tune? Arms of adaptation on one model and task, and the verdict."""
