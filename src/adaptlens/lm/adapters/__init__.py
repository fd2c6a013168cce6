"""Other weights for the same model: a bank of LoRA adapters, or all of them."""
