"""Evaluation: metrics of a trained network, measured from its logits."""
