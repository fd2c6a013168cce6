"""Studies: each is a plan, an analysis and its figures."""
