"""What a model's name stands for, without torch: files, digest, shape.

A folder, a hub id, a GGUF file, a model that ships or that pip obtains.
"""
