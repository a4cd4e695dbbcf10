"""CIFAR-10, CIFAR-100 and a synthetic stand-in as whole splits of uint8 arrays in memory."""

from cifarzoo.data.dataset import Dataset, Split, load

__all__ = ["Dataset", "Split", "load"]
