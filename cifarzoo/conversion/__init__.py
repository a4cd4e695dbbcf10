"""Use other projects' checkpoints: a table of them, readers of their formats, and their conversion to weight files."""
