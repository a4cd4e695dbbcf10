"""Run batches on a Ray cluster. Ray is optional: pip install "ray>=2.40"."""
