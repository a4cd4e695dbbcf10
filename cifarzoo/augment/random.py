"""Random numbers that are a pure function of (seed, step, place in the batch, stream): the same on every backend.

Threefry-2x32 with 20 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011) in signed 32-bit
`keras.ops`, because additions wrap in them on TensorFlow, JAX and PyTorch alike. Nothing is stored, so a resumed run
draws what the uninterrupted one would have drawn, and a batch that is split over replicas draws the same as a whole one.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
DRAWS_PER_STREAM = 1 << 16


def _int32(value):
    """The 32 bits of an unsigned Python integer as a signed one."""
    return int(np.uint32(value & 0xFFFFFFFF).astype(np.int32))


def _rotate_left(x, bits):
    low = ops.bitwise_and(ops.right_shift(x, ops.cast(32 - bits, "int32")), (1 << bits) - 1)
    return ops.bitwise_or(ops.left_shift(x, ops.cast(bits, "int32")), low)


def threefry(key, counter):
    """Threefry-2x32-20: two int32 arrays of 32 random bits from a pair of keys and a pair of counters that broadcast."""
    parity = ops.bitwise_xor(ops.bitwise_xor(key[0], key[1]), _int32(0x1BD11BDA))
    keys = (key[0], key[1], parity)
    x0, x1 = counter[0] + keys[0], counter[1] + keys[1]
    for group in range(5):
        for rotation in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = ops.bitwise_xor(_rotate_left(x1, rotation), x0)
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + (group + 1)
    return x0, x1


@dataclass(frozen=True)
class Draws:
    """Where an augmentation gets its random numbers from.

    Attributes:
        seed: The experiment's seed, a Python integer.
        step: The training step, an int32 scalar.
        index: The places of these images in the global batch, int32 [batch].
        number: Which stream; augmentations in one pipeline have different ones.
    """

    seed: int
    step: Any
    index: Any
    number: int = 0

    def stream(self, number: int) -> "Draws":
        """The same place and time with another stream of numbers."""
        return replace(self, number=number)

    def uniform(self, count: int):
        """`count` numbers an image, uniform in [0, 1): float32 [batch, count]."""
        if not 0 < count <= DRAWS_PER_STREAM:
            raise ValueError(f"count is between 1 and {DRAWS_PER_STREAM}, got {count}")
        first = self.number * DRAWS_PER_STREAM
        counter = ops.reshape(self.index, (-1, 1)), ops.reshape(ops.arange(first, first + count, dtype="int32"), (1, -1))
        key = ops.convert_to_tensor(_int32(self.seed), "int32"), ops.cast(self.step, "int32")
        bits, _ = threefry(key, counter)
        bits = ops.bitwise_and(ops.right_shift(bits, ops.cast(8, "int32")), (1 << 24) - 1)
        return ops.cast(bits, "float32") * 2.0**-24

    def shared(self, count: int):
        """`count` numbers for the whole batch, the same on every replica: float32 [count]."""
        return replace(self, index=ops.full((1,), -1, dtype="int32")).uniform(count)[0]
