"""Random numbers that are a pure function of (seed, step, place in the batch, stream): the same on every backend.

Threefry-2x32 with 20 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011) in signed 32-bit
`keras.ops`, because additions wrap in them on TensorFlow, JAX and PyTorch alike. Nothing is stored, so a resumed run
draws what the uninterrupted one would have drawn, and a batch that is split over replicas draws the same as a whole.

The key is (seed, step); the counter is (place in the global batch, stream * 65536 + pair), and both output words are
used. Place -1 belongs to the batch as a whole, and step -1 to numbers that stay with an image for the whole run.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops

from cifarzoo.errors import ExperimentError

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PAIRS_PER_STREAM = 1 << 16
DRAWS_PER_STREAM = 2 * PAIRS_PER_STREAM


def _int32(value):
    """The 32 bits of an unsigned Python integer as a signed one."""
    return int(np.uint32(value & 0xFFFFFFFF).astype(np.int32))


def _rotate_left(x, bits):
    low = ops.bitwise_and(ops.right_shift(x, ops.cast(32 - bits, "int32")), (1 << bits) - 1)
    return ops.bitwise_or(ops.left_shift(x, ops.cast(bits, "int32")), low)


def threefry(key, counter):
    """Threefry-2x32-20: two int32 arrays of 32 random bits, from two keys and two counters that broadcast."""
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
        seed: The experiment's seed, an integer or an int32 scalar.
        step: The training step, an int32 scalar.
        index: The places of these images in the global batch, int32 [batch].
        epoch: How often the data set has been gone through, an int32 scalar; only the alternating flip asks.
        image_id: The images' places in the data set, int32 [batch]; only the alternating flip asks.
        number: Which stream; augmentations in one pipeline have different ones.
        ahead: Numbers of this stream that were drawn together with other streams' (`streams`), each image's and the
            batch's: float32 [batch, n] and [n].
    """

    seed: Any
    step: Any
    index: Any
    epoch: Any = 0
    image_id: Any = None
    number: int = 0
    ahead: tuple | None = None

    def stream(self, number: int) -> "Draws":
        """The same place and time with another stream of numbers."""
        return replace(self, number=number, ahead=None)

    def streams(self, counts: Sequence[tuple[int, int]]) -> list["Draws"]:
        """Streams 0, 1, ... with their numbers drawn in one call: a large operation costs less than many small ones.

        Args:
            counts: How many numbers each stream is going to ask for: (an image, the batch).
        """
        per_image = self._uniform(self.index, [(number, count) for number, (count, _) in enumerate(counts)])
        place = ops.full((1,), -1, dtype="int32")
        whole = self._uniform(place, [(number, count) for number, (_, count) in enumerate(counts)])
        return [
            replace(self, number=number, ahead=(mine, None if ours is None else ours[0]))
            for number, (mine, ours) in enumerate(zip(per_image, whole, strict=True))
        ]

    def uniform(self, count: int):
        """`count` numbers an image, uniform in [0, 1): float32 [batch, count]."""
        if self.ahead is not None and self.ahead[0] is not None and self.ahead[0].shape[1] >= count:
            return self.ahead[0][:, :count]
        return self._uniform(self.index, [(self.number, count)])[0]

    def shared(self, count: int):
        """`count` numbers for the whole batch, the same on every replica: float32 [count]."""
        if self.ahead is not None and self.ahead[1] is not None and self.ahead[1].shape[0] >= count:
            return self.ahead[1][:count]
        return self._uniform(ops.full((1,), -1, dtype="int32"), [(self.number, count)])[0][0]

    def lasting(self, count: int):
        """`count` numbers that belong to an image for the whole run, whatever the step: float32 [batch, count].

        Raises:
            ExperimentError: the images' places in the data set are not known.
        """
        if self.image_id is None:
            raise ExperimentError(
                "augmentation: the alternating flip needs each image's place in the data set (image_id)"
            )
        return replace(self, step=-1)._uniform(self.image_id, [(self.number, count)])[0]

    def _uniform(self, places, wanted):
        """For each (stream, count) of `wanted`: float32 [places, count], or None where the count is 0."""
        for _, count in wanted:
            if not 0 <= count <= DRAWS_PER_STREAM:
                raise ValueError(f"count is between 0 and {DRAWS_PER_STREAM}, got {count}")
        pairs = [(count + 1) // 2 for _, count in wanted]
        if not sum(pairs):
            return [None] * len(wanted)
        first = [number * PAIRS_PER_STREAM for number, _ in wanted]
        columns = np.concatenate([np.arange(n) + start for start, n in zip(first, pairs, strict=True)]).astype("int32")
        seed = _int32(self.seed) if isinstance(self.seed, int) else self.seed
        key = ops.convert_to_tensor(seed, "int32"), ops.cast(self.step, "int32")
        words = threefry(key, (ops.reshape(places, (-1, 1)), ops.convert_to_tensor(columns[None], "int32")))
        bits = ops.reshape(ops.stack(words, axis=-1), (-1, 2 * len(columns)))
        bits = ops.bitwise_and(ops.right_shift(bits, ops.cast(8, "int32")), (1 << 24) - 1)
        numbers = ops.cast(bits, "float32") * 2.0**-24
        ends = np.cumsum([2 * n for n in pairs])
        return [
            numbers[:, end - 2 * n : end - 2 * n + count] if n else None
            for end, n, (_, count) in zip(ends, pairs, wanted, strict=True)
        ]
