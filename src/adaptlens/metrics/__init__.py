"""Pure functions on arrays: how right answers are, how alike states are."""
