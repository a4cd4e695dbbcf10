"""Evaluation: what a trained network is, measured from its logits."""
