"""Exact activation patching, and its estimates by gradients."""
