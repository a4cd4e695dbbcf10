"""A small data set of noise, and the command line run in this process."""

import sys

import numpy as np
import pytest

from cifarzoo import cli
from cifarzoo.data import Dataset, Split
from cifarzoo.data.classes import CLASS_NAMES

TEST_IMAGES = 103


def small_dataset(name="cifar10"):
    """200 training and 103 test images of noise under CIFAR-10's name, or another."""
    random = np.random.RandomState(0)

    def split(count):
        images = random.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        return Split(images, np.arange(count, dtype=np.int32) % 10)

    return Dataset(name, *CLASS_NAMES[name], split(200), split(TEST_IMAGES))


def run_cli(monkeypatch, capsys, *arguments):
    """Exit status, standard output and the error lines of a command, run by the real entry point."""
    monkeypatch.setattr(sys, "argv", ["cifarzoo", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code, captured.out, [line for line in captured.err.splitlines() if "error: " in line]
