"""Weight files that are damaged or made to harm: one line, in bounded memory, without TensorFlow."""

import json
import os
import random
import time
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from mutations import mutated

from cifarzoo.errors import WeightsError
from cifarzoo.pretrained.arrays import read_arrays
from cifarzoo.pretrained.description import read_description
from cifarzoo.pretrained.hdf5 import check_saved_model

KERNEL, BIAS = np.arange(12, dtype=np.float32).reshape(3, 4), np.ones(4, np.float32)


def weight_file(path, change=None, kernel=KERNEL):
    """Write a file as Keras does: a layer `logits` with a kernel and a bias."""
    with h5py.File(path, "w") as file:
        file.attrs["cifarzoo"] = json.dumps({"factory": "cifar_resnet20", "classes": 4})
        variables = file.create_group("layers/dense/vars")
        variables.attrs["name"] = "logits"
        if kernel is not None:
            variables["0"] = kernel
        variables["1"] = BIAS
        file["layers/dropout/seed_generator/vars/0"] = np.arange(2, dtype=np.uint32)
        file["optimizer/vars/0"] = np.int64(3)
        if change:
            change(file, variables)
    return path


def chunked(file, variables):
    """A gigabyte in a file of some kilobytes: no chunk is stored."""
    variables.create_dataset("0", (4, 10**9), np.float32, chunks=(4, 1024))


def large_chunk(file, variables):
    variables.create_dataset("0", (3, 4), np.float32, chunks=(30_000, 4096), maxshape=(None, None))


def never_written(file, variables):
    variables.create_dataset("0", (10**6, 10**7), np.float32)


def too_many_for_64_bits(file, variables):
    space = h5py.h5s.create_simple((2**31, 2**31, 4))
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((1, 1, 4))
    h5py.h5d.create(variables.id, b"0", h5py.h5t.IEEE_F32LE, space, properties)


def elsewhere(file, variables):
    variables.create_dataset("0", (3, 4), np.float32, external=[("/etc/passwd", 0, 48)])


def virtual(file, variables):
    layout = h5py.VirtualLayout((3, 4), np.float32)
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 4))
    variables.create_virtual_dataset("0", layout)


def soft_link(file, variables):
    variables["0"] = h5py.SoftLink("/layers/dense/vars/1")


def external_link(file, variables):
    variables["0"] = h5py.ExternalLink("other.h5", "/x")


def circle(file, variables):
    variables["0"] = KERNEL
    file["layers/dense/layers"] = file["layers"]


HOSTILE = {
    "chunked": (chunked, None, r"/layers/dense/vars/0 claims the shape \(4, 1000000000\) in a file of"),
    "large chunk": (large_chunk, None, r"/layers/dense/vars/0 claims the shape \(3, 4\) in a file of"),
    "never written": (never_written, None, r"claims the shape \(1000000, 10000000\)"),
    "64 bits": (too_many_for_64_bits, None, r"claims the shape \(2147483648, 2147483648, 4\)"),
    "external storage": (elsewhere, None, "/layers/dense/vars/0 is kept in another file"),
    "virtual": (virtual, None, "/layers/dense/vars/0 is kept in another file"),
    "soft link": (soft_link, None, "/layers/dense/vars/0 is a link"),
    "external link": (external_link, None, "/layers/dense/vars/0 is a link"),
    "circle": (circle, None, "an HDF5 file|has a variable that is not an array of its own"),
    "missing": (None, None, "layer logits has a variable that is not an array of its own"),
    "complex": (None, KERNEL.astype(complex), "layer logits has complex128 weights; expected real numbers"),
    "boolean": (None, KERNEL > 3, "layer logits has bool weights; expected real numbers"),
    "text": (None, "text", "layer logits has object weights; expected real numbers"),
    "nan": (None, KERNEL * np.nan, "layer logits has weights that are not finite"),
    "infinite": (None, np.full((3, 4), -np.inf, np.float16), "layer logits has weights that are not finite"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_weight_files_that_keras_would_read_for_minutes_or_load(tmp_path, name):
    change, kernel, message = HOSTILE[name]
    path = weight_file(tmp_path / "x.weights.h5", change, kernel)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=f"x.weights.h5: .*({message})") as caught:
        read_arrays(path)
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_whole_file_is_read_whatever_its_compression(tmp_path):
    def compressed(file, variables):
        variables.create_dataset("0", data=KERNEL, chunks=(1, 4), compression="gzip")

    for path in (weight_file(tmp_path / "a.weights.h5"), weight_file(tmp_path / "b.weights.h5", compressed, None)):
        arrays = read_arrays(path)
        np.testing.assert_array_equal(arrays.layers["logits"][0], KERNEL)
        np.testing.assert_array_equal(arrays.layers["logits"][1], BIAS)
        assert list(arrays.layers) == ["logits"] and arrays.others == ()


@pytest.mark.parametrize(
    "text", ["[" * 60_000, "3", '{"factory": 3}', '{"arguments": [1]}', '{"classes": "many"}', "{"]
)
def test_descriptions_that_are_none(tmp_path, text):
    def change(file, variables):
        file.attrs["cifarzoo"] = text

    path = weight_file(tmp_path / "x.weights.h5", change)
    with pytest.raises(WeightsError, match="x.weights.h5: the attribute 'cifarzoo' is not a description") as caught:
        read_description(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_the_weights_in_a_saved_model_are_checked_before_keras_reads_them(tmp_path):
    inner, path = weight_file(tmp_path / "x.weights.h5", chunked, None), tmp_path / "x.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "model.weights.h5")
    with open(path, "rb") as file, pytest.raises(WeightsError, match=r"vars/0 claims the shape \(4, 1000000000\)"):
        check_saved_model(file)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**25))
    with open(path, "rb") as file, pytest.raises(WeightsError, match="it claims 33,554,432 bytes in"):
        check_saved_model(file)


def test_a_heap_over_which_hdf5_would_loop_forever(tmp_path):
    path = weight_file(tmp_path / "x.weights.h5")
    data = bytearray(path.read_bytes())
    start = data.index(b"GCOL")
    data[start + 16 : start + 32] = bytes(16)
    path.write_bytes(data)
    for read in (read_arrays, read_description):
        with pytest.raises(WeightsError, match="x.weights.h5: damaged: the heap at byte .* has an object of 0 bytes"):
            read(path)


def test_heaps_that_overlap_take_linear_time(tmp_path):
    heap = b"GCOL\x01\0\0\0" + (2**40).to_bytes(8, "little")
    text = b"\1" + bytes(7) + len(heap).to_bytes(8, "little") + heap
    path = tmp_path / "x.weights.h5"
    path.write_bytes(heap + text * 4_000)  # each text is the start of a heap with all the texts after it
    start = time.process_time()
    with pytest.raises(WeightsError, match="x.weights.h5: damaged: the heap at byte .* overlaps another"):
        read_arrays(path)
    assert time.process_time() - start < 1


def test_a_long_file_with_nothing_in_it_takes_little_memory(tmp_path):
    path = weight_file(tmp_path / "x.weights.h5")
    os.truncate(path, 2**26)
    tracemalloc.start()
    assert list(read_arrays(path).layers) == ["logits"]
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize("seed", range(3))
def test_mutated_weight_files_are_one_line(tmp_path, seed):
    rng, path = random.Random(seed), tmp_path / "x.weights.h5"
    whole = weight_file(path).read_bytes()
    for _ in range(60):
        path.write_bytes(mutated(whole, rng))
        for read in (read_arrays, read_description):
            try:
                read(path)
            except WeightsError as failure:
                assert "\n" not in str(failure) and len(str(failure)) < 1000
