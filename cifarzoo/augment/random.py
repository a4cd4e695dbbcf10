"""Random numbers that are a pure function of (seed, step, position, stream) and the same on every backend.

The generator is Threefry-2x32 with 20 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011). It
computes in signed 32-bit `keras.ops`, whose additions wrap on TensorFlow, JAX and PyTorch alike. No state is stored:
a resumed run draws what the uninterrupted one would have drawn, and a batch that is split over replicas draws the same
numbers as a whole one.

The key is (seed, step). The counter is (position in the global batch, stream * 65536 + pair), and both output words are
used. Position -1 stands for the batch as a whole; step -1 for numbers that an image keeps for the whole run; steps from
-2 downwards for the views of `Draws.in_view`.
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
    """Reinterpret the low 32 bits of a Python integer as signed."""
    return int(np.uint32(value & 0xFFFFFFFF).astype(np.int32))


def _rotate_left(x, bits):
    low = ops.bitwise_and(ops.right_shift(x, ops.cast(32 - bits, "int32")), (1 << bits) - 1)
    return ops.bitwise_or(ops.left_shift(x, ops.cast(bits, "int32")), low)


def threefry(key, counter):
    """Threefry-2x32-20: two int32 arrays of 32 random bits each, from two keys and two counters that broadcast."""
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
    """The source of an augmentation's random numbers.

    Attributes:
        seed: The experiment's seed, an integer or an int32 scalar.
        step: The training step, an int32 scalar; int32 [batch, 1] in views, which have no numbers for the batch.
        index: Position of each image in the global batch, int32 [batch].
        epoch: Number of completed passes over the data set, an int32 scalar. Only the alternating flip reads it.
        image_id: Position of each image in the data set, int32 [batch]. Only the alternating flip reads it.
        stream: Number of the stream. Each augmentation of a pipeline has its own.
        prefetched: Numbers of this stream that `streams` has drawn already: float32 [batch, n] per image and float32
            [n] for the batch, either of them None where there are none.
    """

    seed: Any
    step: Any
    index: Any
    epoch: Any = 0
    image_id: Any = None
    stream: int = 0
    prefetched: tuple | None = None

    def with_stream(self, stream: int) -> "Draws":
        """Return the same seed, step and positions with another stream."""
        return replace(self, stream=stream, prefetched=None)

    def in_view(self, view) -> "Draws":
        """Return draws that depend on the seed, the view and the image only, not on the step.

        Args:
            view: Number of the view, int32 scalar or [batch, 1]. It takes the place of the epoch.
        """
        return replace(self, step=-2 - view, index=self.image_id, epoch=view)

    def streams(self, counts: Sequence[tuple[int, int]]) -> list["Draws"]:
        """Return streams 0, 1, ... with their numbers drawn in one call, which costs less than many small ones.

        Args:
            counts: How many numbers each stream will need: (per image, for the batch).
        """
        per_image = self._uniform(self.index, [(stream, count) for stream, (count, _) in enumerate(counts)])
        batch_position = ops.full((1,), -1, dtype="int32")
        for_batch = self._uniform(batch_position, [(stream, count) for stream, (_, count) in enumerate(counts)])
        return [
            replace(self, stream=stream, prefetched=(image_numbers, None if numbers is None else numbers[0]))
            for stream, (image_numbers, numbers) in enumerate(zip(per_image, for_batch, strict=True))
        ]

    def uniform(self, count: int):
        """Return `count` numbers per image, uniform in [0, 1): float32 [batch, count]."""
        if self.prefetched is not None and self.prefetched[0] is not None and self.prefetched[0].shape[1] >= count:
            return self.prefetched[0][:, :count]
        return self._uniform(self.index, [(self.stream, count)])[0]

    def shared(self, count: int):
        """Return `count` numbers for the whole batch, the same on every replica: float32 [count]."""
        if self.prefetched is not None and self.prefetched[1] is not None and self.prefetched[1].shape[0] >= count:
            return self.prefetched[1][:count]
        return self._uniform(ops.full((1,), -1, dtype="int32"), [(self.stream, count)])[0][0]

    def lasting(self, count: int):
        """Return `count` numbers that an image keeps for the whole run, whatever the step: float32 [batch, count].

        Raises:
            ExperimentError: `image_id` is not set.
        """
        if self.image_id is None:
            raise ExperimentError("augmentation: the alternating flip needs `image_id`, each image's data set position")
        return replace(self, step=-1)._uniform(self.image_id, [(self.stream, count)])[0]

    def _uniform(self, positions, requests):
        """Return float32 [positions, count] for each (stream, count) of `requests`, or None where the count is 0."""
        for _, count in requests:
            if not 0 <= count <= DRAWS_PER_STREAM:
                raise ValueError(f"count must be between 0 and {DRAWS_PER_STREAM}, got {count}")
        pairs = [(count + 1) // 2 for _, count in requests]
        if not sum(pairs):
            return [None] * len(requests)
        first = [stream * PAIRS_PER_STREAM for stream, _ in requests]
        columns = np.concatenate([np.arange(n) + start for start, n in zip(first, pairs, strict=True)]).astype("int32")
        seed = _int32(self.seed) if isinstance(self.seed, int) else self.seed
        key = ops.convert_to_tensor(seed, "int32"), ops.cast(self.step, "int32")
        words = threefry(key, (ops.reshape(positions, (-1, 1)), ops.convert_to_tensor(columns[None], "int32")))
        bits = ops.reshape(ops.stack(words, axis=-1), (-1, 2 * len(columns)))
        bits = ops.bitwise_and(ops.right_shift(bits, ops.cast(8, "int32")), (1 << 24) - 1)
        numbers = ops.cast(bits, "float32") * 2.0**-24
        ends = np.cumsum([2 * n for n in pairs])
        return [
            numbers[:, end - 2 * n : end - 2 * n + count] if n else None
            for end, n, (_, count) in zip(ends, pairs, requests, strict=True)
        ]
