"""Random numbers of augmentations: the generator and its streams."""

import numpy as np
import pytest
from keras import ops

from cifarzoo.augment.random import Draws, threefry
from cifarzoo.errors import ExperimentError


def words(*values):
    return tuple(ops.convert_to_tensor(np.array([value], "uint32").astype("int32")) for value in values)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(counter, key, expected):
    answer = threefry(words(*key), words(*counter))
    assert tuple(int(ops.convert_to_numpy(word).astype("uint32")[0]) for word in answer) == expected


def draws(seed=0, step=0, places=range(128), **more):
    return Draws(seed, step, np.array(places, "int32"), **more)


def numbers(draws, count=1):
    return ops.convert_to_numpy(draws.uniform(count))


def test_numbers_are_uniform():
    sample = numbers(draws(places=range(1000)), 200).ravel()
    assert sample.dtype == np.float32 and sample.min() >= 0 and sample.max() < 1
    counts, _ = np.histogram(sample, bins=100, range=(0, 1))
    chi_squared = ((counts - 2000.0) ** 2 / 2000.0).sum()
    assert 60 < chi_squared < 148  # 99 degrees of freedom, one in a thousand on each side


def test_numbers_of_neighboring_positions_columns_and_steps_are_not_correlated():
    many = np.stack([numbers(draws(step=step), 64) for step in range(8)]).astype("float64") - 0.5
    for axis in range(3):
        shifted = (many * np.roll(many, 1, axis)).mean() * 12
        assert abs(shifted) < 4 / np.sqrt(many.size)


@pytest.mark.parametrize("other", [{"seed": 1}, {"step": 1}, {"stream": 1}, {"places": range(128, 256)}])
def test_another_seed_step_stream_or_position_has_other_numbers(other):
    assert (numbers(draws(**other), 8) == numbers(draws(), 8)).mean() < 0.01


def test_a_batch_split_over_replicas_draws_the_same():
    whole = numbers(draws(seed=7, step=3), 5)
    parts = [numbers(draws(seed=7, step=3, places=range(first, first + 32)), 5) for first in range(0, 128, 32)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    shared = [ops.convert_to_numpy(draws(seed=7, step=3, places=range(n)).shared(3)) for n in (1, 32, 128)]
    np.testing.assert_array_equal(shared[0], shared[1])
    np.testing.assert_array_equal(shared[0], shared[2])


def test_fewer_numbers_are_the_first_of_more():
    np.testing.assert_array_equal(numbers(draws(), 3), numbers(draws(), 8)[:, :3])


def test_streams_drawn_together_are_the_streams_drawn_alone():
    base = draws(seed=-5, step=9)
    together = base.streams([(2, 0), (0, 3), (0, 0), (7, 1)])
    for number, (count, shared) in enumerate([(2, 0), (0, 3), (0, 0), (7, 1)]):
        alone = base.with_stream(number)
        if count:
            np.testing.assert_array_equal(numbers(together[number], count), numbers(alone, count))
        if shared:
            np.testing.assert_array_equal(
                *(ops.convert_to_numpy(one.shared(shared)) for one in (together[number], alone))
            )


def test_lasting_numbers_depend_on_the_image_and_not_on_step_or_position():
    ids = np.random.default_rng(0).permutation(50000)[:128].astype("int32")
    early = ops.convert_to_numpy(draws(step=0, image_id=ids).lasting(2))
    late = ops.convert_to_numpy(draws(step=999, places=range(500, 628), image_id=ids[::-1]).lasting(2))
    np.testing.assert_array_equal(early, late[::-1])
    with pytest.raises(ExperimentError, match="image_id"):
        draws().lasting(1)


def test_more_numbers_than_a_stream_has_are_refused():
    with pytest.raises(ValueError, match="count must be between"):
        draws().uniform(1 << 20)
