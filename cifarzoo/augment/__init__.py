"""Augmentation inside the compiled step: pure functions on a batch, random numbers from (seed, step, image)."""
