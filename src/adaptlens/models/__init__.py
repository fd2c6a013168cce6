"""What a model's name may stand for beside a folder: GGUF files, and models that can be obtained.

Free of torch and transformers.
"""
