import contextlib
import os
import pickle
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from cifar_archives import python2_pickle

from cifarzoo.data.pickles import read_batch

ROWS = np.arange(24, dtype=np.uint8).reshape(4, 6)


class Calls:
    """An object that pickles as a function call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_reads_what_numpy_pickles(protocol, dtype):
    rows = ROWS.astype(dtype)
    batch = read_batch(pickle.dumps({b"data": rows, b"labels": [3, 1, 2], "batch_label": b"x"}, protocol))
    np.testing.assert_array_equal(batch["data"], rows, strict=True)
    assert batch["labels"] == [3, 1, 2] and batch["batch_label"] == b"x"


def test_reads_arrays_in_fortran_order():
    for protocol in (2, 5):
        batch = read_batch(pickle.dumps({"data": np.asfortranarray(ROWS)}, protocol))
        np.testing.assert_array_equal(batch["data"], ROWS, strict=True)


def test_reads_python_2_and_the_module_names_of_numpy_1_and_2():
    old = python2_pickle({b"data": ROWS, b"labels": [0, 9], b"batch_label": b"one \xff"})
    assert b"numpy.core.multiarray" in old
    for data in (old, old.replace(b"numpy.core.", b"numpy._core.")):
        batch = read_batch(data)
        np.testing.assert_array_equal(batch["data"], ROWS, strict=True)
        assert batch["labels"] == [0, 9] and batch["batch_label"] == b"one \xff"
    assert pickle.loads(old, encoding="bytes")[b"labels"] == [0, 9]  # the writer above is right, then


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_calls_no_function_that_a_pickle_names(tmp_path, protocol):
    mark = tmp_path / "called"
    for call in (
        Calls(os.system, f"touch {mark}"),
        Calls(subprocess.call, ["touch", str(mark)]),
        Calls(open, mark, "w"),
    ):
        for value in (call, {"data": call}, {"data": ROWS, "labels": [call]}, {call: 1}):
            try:
                data = pickle.dumps(value, protocol)
            except TypeError:
                continue
            with pytest.raises(pickle.UnpicklingError, match="it asks for"):
                read_batch(data)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Calls(eval, "1 + 1"), "eval"),
        (Calls(getattr, ROWS, "tobytes"), "getattr"),
        (Calls(np.load, "x"), "numpy.load"),
        (np.float64(1), "scalar"),
        (ROWS.astype("float32"), "'f4'"),
        (ROWS.astype(">i4"), "unusual dtype"),
        (np.array([{}]), "'O8'"),
        (np.zeros(2, [("x", "u1")]), "'V1'"),
        ([1, 2], "list instead of a dictionary"),
    ],
)
def test_refuses_everything_else(value, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        read_batch(pickle.dumps(value, 2))


def test_refuses_arrays_whose_bytes_do_not_fit_their_shape():
    whole = python2_pickle({b"data": ROWS})
    larger = whole.replace(b"J\x04\0\0\0J\x06\0\0\0", b"J\x04\0\0\0J\x07\0\0\0")
    with pytest.raises(pickle.UnpicklingError, match=r"shape \(4, 7\)"):
        read_batch(larger)
    negative = whole.replace(b"J\x04\0\0\0J\x06\0\0\0", b"J\xfc\xff\xff\xffJ\xfa\xff\xff\xff")
    with pytest.raises(pickle.UnpicklingError, match=r"shape \(-4, -6\)"):
        read_batch(negative)


def test_allocates_no_memory_for_lengths_that_a_pickle_only_claims():
    tracemalloc.start()
    for claim in (
        b"r" + struct.pack("<I", 2**28),
        b"\x96" + struct.pack("<Q", 2**32),
        b"\x8e" + struct.pack("<Q", 2**32),
    ):
        with pytest.raises(pickle.UnpicklingError):
            read_batch(b"\x80\x05}" + claim + b".")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


# A tuple of two equal tuples of two equal tuples ...: its hash and its repr take 2**60 steps.
NESTED = b"K\x01q\x000" + b"".join(b"h%ch%c\x86q%c0" % (level, level, level + 1) for level in range(60)) + b"h<"
DTYPE = b"cnumpy\ndtype\n"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
HANGING = {
    "key": (b"}" + NESTED + b"Ns", "a pickle that has a tuple as a key; expected text or a number"),
    "dtype": (DTYPE + NESTED + b"\x85R", "an array of dtype (((...), (...)), ((...), (...))); a CIFAR batch has"),
    "state": (DTYPE + b"C\x02u1\x85R(K\x03" + NESTED + b"NNNtb", "an array of an unusual dtype: (3, ((...), (...)),"),
    "encoding": (b"c_codecs\nencode\nC\x00" + NESTED + b"\x86R", "bytes encoded as (((...), (...)), ((...), (...)));"),
    "shape": (
        ARRAY + b"(K\x01" + NESTED + DTYPE + b"C\x02u1\x85R\x89C\x00tb",
        "an array of shape (((...), (...)), ((...), (...)))",
    ),
    "sides": (
        ARRAY + b"(K\x01(" + b"J\xff\xff\xff\x7f" * 500_000 + b"t" + DTYPE + b"C\x02u1\x85R\x89C\x00tb",
        "an array of shape (2147483647, 2147483647,",
    ),
    "instructions": (b"N0" * 1_100_000, "a pickle that takes more than 2,068,750 instructions"),
}
READ_FILES = """
import pathlib, pickle, sys
from cifarzoo.data.pickles import read_batch
for path in sys.argv[1:]:
    try:
        read_batch(pathlib.Path(path).read_bytes())
    except pickle.UnpicklingError as error:
        print(error)
"""


def test_small_pickles_do_not_take_forever(tmp_path):
    for name, (data, _) in HANGING.items():
        (tmp_path / name).write_bytes(b"\x80\x03" + data + b".")
    command = [sys.executable, "-c", READ_FILES, *(str(tmp_path / name) for name in HANGING)]
    # In another process, because nothing interrupts a hash.
    lines = subprocess.run(command, capture_output=True, check=True, timeout=60, encoding="utf-8").stdout.splitlines()
    for line, (_, message) in zip(lines, HANGING.values(), strict=True):
        assert line.startswith(message), line


def test_every_truncation_is_an_unpickling_error():
    for data in (python2_pickle({b"data": ROWS, b"labels": [1]}), pickle.dumps({"data": ROWS}, 5)):
        for length in range(len(data)):
            with pytest.raises(pickle.UnpicklingError):
                read_batch(data[:length])


def test_random_damage_never_escapes_as_another_exception():
    random = np.random.RandomState(0)
    for original in (python2_pickle({b"data": ROWS, b"labels": [1]}), pickle.dumps({"data": ROWS, "labels": [1]}, 5)):
        for _ in range(2_000):
            data = bytearray(original)
            data[random.randint(2, len(data))] = random.randint(256)
            with contextlib.suppress(pickle.UnpicklingError):
                assert isinstance(read_batch(bytes(data)), dict)
