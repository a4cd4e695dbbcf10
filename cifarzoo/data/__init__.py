"""CIFAR-10, CIFAR-100 and a synthetic stand-in: whole splits in memory as uint8 arrays."""

from cifarzoo.data.dataset import Dataset, Split, load

__all__ = ["Dataset", "Split", "load"]
