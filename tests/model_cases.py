"""Small members of every family, and ways to set their weights, shared by several test files."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]


class Case(NamedTuple):
    """A model small enough for every test run."""

    model: str
    arguments: dict
    features: tuple[int, int, int]
    """Height, width and channels before pooling."""
    plain_keras: bool = True
    """Whether a saved file opens without this package."""

    def __str__(self):
        return "-".join([self.model, *map(str, self.arguments.values())])

    def build(self, **options):
        from cifarzoo.models.registry import create_model

        return create_model(self.model, **self.arguments, **options)


CASES = [
    Case("cifar_resnet20", {"block_type": "original", "shortcut_type": "A"}, (8, 8, 64)),
    Case("cifar_resnet20", {"block_type": "original", "shortcut_type": "B"}, (8, 8, 64)),
    Case("cifar_resnet20", {"block_type": "preactivated", "shortcut_type": "A"}, (8, 8, 64)),
    Case("cifar_resnet20", {"block_type": "preactivated", "shortcut_type": "B"}, (8, 8, 64)),
    Case("cifar_resnet", {"depth": 8, "normalization": "group"}, (8, 8, 64)),
    Case("cifar_vgg11", {}, (1, 1, 512)),
    Case("cifar_wide_resnet", {"depth": 10, "width": 2, "dropout": 0.3}, (8, 8, 128)),
    Case("cifar_resnext29_32x4d", {}, (8, 8, 1024)),
    Case("cifar_resnet18", {}, (4, 4, 512)),
    Case("cifar_resnet8", {}, (8, 8, 64)),
    Case("cifar_resnet9", {}, (4, 4, 512)),
    Case("cifar_resnet9", {"stem": "whitening", "ghost_batch_size": 2}, (4, 4, 512), plain_keras=False),
    Case("cifar_airbench94", {}, (3, 3, 256), plain_keras=False),
    Case("cifar_shake_shake26_2x32d", {}, (8, 8, 128), plain_keras=False),
    Case("cifar_pyramidnet110_a48", {"shake_drop": True}, (8, 8, 64), plain_keras=False),
    Case("cifar_skipnet38", {"gate": "recurrent"}, (8, 8, 64), plain_keras=False),
    Case("cifar_skipnet38", {"gate": "feed_forward"}, (8, 8, 64), plain_keras=False),
]

# The kinds of block among the smallest: what every test run can afford in a new process for every backend.
QUICK = [CASES[1], CASES[2]]


def pixels(count: int = 4) -> np.ndarray:
    """Return random uint8 images, the same in every call."""
    return np.random.default_rng(5).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def fill(model) -> None:
    """Fill every weight with a sequence that depends only on its index, shape and role, so that swapped weights show.

    Kernels keep the activations near unit scale; BatchNormalization gets other statistics than zero and one.
    """
    for number, weight in enumerate(model.weights):
        ramp = (np.arange(np.prod(weight.shape)) * 7919 + 104729 * number) % 10007 / 10007 - 0.5
        ramp = ramp.reshape(weight.shape)
        if len(weight.shape) > 1:
            values = ramp * np.sqrt(24 / np.prod(weight.shape[:-1]))
        elif weight.name in ("gamma", "moving_variance"):
            values = 1 + 0.5 * ramp
        else:
            values = 0.2 * ramp
        weight.assign(values.astype("float32"))


def assert_close(actual, expected, tolerance: float = 1e-4, message: str = "") -> None:
    """Assert that the largest difference is below `tolerance` times the largest expected number."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max(), err_msg=message)


def run_python(code: str, *arguments: str, backend: str = "tensorflow", with_package: bool = True) -> str:
    """Run code in a fresh interpreter and return its output; without the package it cannot import cifarzoo."""
    environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")]) if with_package else ""
    if not with_package:
        code = "import sys\nsys.modules['cifarzoo'] = None\n" + code
    done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(done.stderr[-3000:])
    return done.stdout
