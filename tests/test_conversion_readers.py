"""Readers of other projects' checkpoints: against the libraries that write them, and against hostile files."""

import os
import pickle
import struct
import zipfile
from argparse import Namespace
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path

import h5py
import numpy as np
import pytest

from cifarzoo.conversion.readers import files_of, read_checkpoint
from cifarzoo.conversion.readers.crc32c import crc32c, masked
from cifarzoo.errors import WeightsError

FOREIGN = Path(os.environ.get("CIFARZOO_FOREIGN") or Path(__file__).parents[2] / "shared" / "foreign")


def refusal(path):
    """Return what is wrong with a file, and check that it is one short line which begins with the path."""
    with pytest.raises(WeightsError) as failure:
        read_checkpoint(path)
    text = str(failure.value)
    assert text.startswith(f"{path}: ") and "\n" not in text and len(text) < 1000
    return text.removeprefix(f"{path}: ")


def written(path, content):
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def state(torch):
    """Return tensors of every dtype, and parts of others that are not contiguous."""
    torch.manual_seed(0)
    base = torch.randn(4, 6, 5)
    names = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool uint16 uint32 uint64".split()
    tensors = {name: (10 * base).to(getattr(torch, name)) for name in names}
    return OrderedDict(
        tensors,
        transposed=base.transpose(0, 2),
        part=base[1:3, ::2, -2:],
        column=base[:, 0, 0],
        repeated=base[0, 0].expand(3, 5),
        same=tensors["float32"],
        scalar=torch.tensor(3),
        nothing=torch.zeros(0, 3),
        parameter=torch.nn.Parameter(base[0]),
    )


@pytest.mark.parametrize("is_zip", [True, False])
def test_torch_files_are_read_as_torch_reads_them(torch, tmp_path, is_zip):
    tensors = state(torch)
    tensors._metadata = OrderedDict({"": {"version": 1}})
    torch.save({"net": tensors, "epoch": 7}, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    assert checkpoint.format == "torch" and checkpoint.facts == {"epoch": 7}
    assert list(checkpoint.arrays) == [f"net/{name}" for name in tensors]
    for name, tensor in tensors.items():
        array = checkpoint.arrays[f"net/{name}"]
        expected = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
        assert array.dtype == expected.dtype and array.flags.c_contiguous
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_optimizer_state_logs_and_numpy_values_are_read(torch, tmp_path, is_zip, protocol):
    network = torch.nn.Linear(2, 3)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    content = {
        "model": network.state_dict(),
        "ema": None,
        "optimizer": optimizer.state_dict(),
        "log": {"test": defaultdict(float, top1=np.float64(0.97), loss=np.float32(0.5)), "steps": np.int64(3)},
        "mu": np.array([[0.5, 0.25]], np.float32),
        "big": np.asfortranarray(np.arange(6.0).reshape(2, 3)).astype(">f8"),
        "args": Namespace(
            lr=0.1, name="wrn", device=torch.device("cuda", 1), dtype=torch.float32, size=torch.Size([3])
        ),
        "milestones": Counter({60: 1}),
        "seen": {1, 2},
        "raw": b"\x00\xff",
        "flag": True,
        "layers": [torch.ones(2), torch.zeros(1)],
    }
    torch.save(content, tmp_path / "x.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    checkpoint = read_checkpoint(tmp_path / "x.pth")
    arrays, facts = checkpoint.arrays, checkpoint.facts
    np.testing.assert_array_equal(arrays["model/weight"], network.weight.detach().numpy())
    np.testing.assert_array_equal(arrays["optimizer/state/0/momentum_buffer"], network.weight.grad.numpy())
    np.testing.assert_array_equal(arrays["mu"], content["mu"])
    np.testing.assert_array_equal(arrays["big"], content["big"])
    np.testing.assert_array_equal(arrays["layers/0"], [1, 1])
    assert facts["log/test/top1"] == 0.97 and facts["log/test/loss"] == 0.5 and facts["log/steps"] == 3
    assert facts["args/lr"] == 0.1 and facts["args/name"] == "wrn" and facts["args/device"] == "cuda:1"
    assert facts["milestones/60"] == 1 and facts["flag"] is True and "raw" not in facts and "ema" not in facts


def test_a_lone_tensor_and_a_list_of_tensors(torch, tmp_path):
    torch.save(torch.arange(3), tmp_path / "one.pt")
    torch.save([torch.zeros(1), {"a": torch.ones(1)}], tmp_path / "two.pt")
    assert list(read_checkpoint(tmp_path / "one.pt").arrays) == ["tensor"]
    assert list(read_checkpoint(tmp_path / "two.pt").arrays) == ["0", "1/a"]


class Touch:
    """Runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("is_zip", [True, False])
def test_whole_modules_and_calls_are_refused_by_name(torch, tmp_path, is_zip):
    marker = tmp_path / "executed"
    cases = {
        torch.nn.Linear(2, 3): "contains torch.nn.modules.linear.Linear, which is not a tensor",
        Touch(marker): f"contains {os.system.__module__}.system, which is not a tensor",
        torch.zeros(2).to_sparse(): "contains torch._utils._rebuild_sparse_tensor, which is not a tensor",
        os.system: f"contains {os.system.__module__}.system, which is not a tensor",
    }
    for content, text in cases.items():
        torch.save({"model": content}, tmp_path / "x.pt", _use_new_zipfile_serialization=is_zip)
        assert refusal(tmp_path / "x.pt") == text
    assert not marker.exists()


# ------------------------------------------------------------------------------------------------- hostile pickles


def archive(path, pickled, storages=(), folder="x"):
    """Write a file in torch's zip format around a pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{folder}/data.pkl", pickled)
        for key, content in dict(storages).items():
            file.writestr(f"{folder}/data/{key}", content)
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value):
    return b"J" + struct.pack("<i", value) if value < 2**31 else b"\x8a\x08" + struct.pack("<q", value)


def integers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key="0", kind=b"torch\nFloatStorage", total=4):
    return b"(" + text("storage") + b"c" + kind + b"\n" + text(key) + text("cpu") + integer(total) + b"tQ"


def tensor(offset=0, shape=(4,), stride=(1,), source=None):
    arguments = (source or storage()) + integer(offset) + integers(shape) + integers(stride)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"\x89NtR"


def pickled(*items, start=b""):
    """Return the pickle of a dictionary of pickled values."""
    pairs = b"".join(text(str(number)) + item for number, item in enumerate(items))
    return b"\x80\x02" + start + b"}(" + pairs + b"u."


FOUR = {"0": np.arange(4, dtype="<f4").tobytes()}


def test_the_hand_made_file_is_readable(tmp_path):
    array = read_checkpoint(archive(tmp_path / "x.pt", pickled(tensor()), FOUR)).arrays["0"]
    np.testing.assert_array_equal(array, np.arange(4, dtype=np.float32))


LYING = {
    "shape": (tensor(shape=(5,)), "damaged: the pickle claims the shape (5,) with strides (1,) in 4 elements"),
    "stride": (tensor(shape=(2, 2), stride=(4, 1)), "damaged: the pickle claims the shape (2, 2)"),
    "offset": (tensor(offset=1), "damaged: the pickle claims the shape (4,)"),
    "negative": (tensor(offset=-1), "damaged: the pickle has a tensor without a shape or strides"),
    "negative stride": (tensor(offset=3, stride=(-1,)), "damaged: the pickle has a tensor without a shape"),
    "dimensions": (tensor(shape=(1,) * 40, stride=(1,) * 40), "damaged: the pickle has a tensor without a shape"),
    "storage": (tensor(source=storage(total=3), shape=(3,)), "damaged: x/data/0 has 16 bytes instead of 12"),
    "huge": (tensor(source=storage(total=2**40)), "damaged: x/data/0 has 16 bytes instead of 4,398,046,511,104"),
    "repeated": (tensor(shape=(2**40,), stride=(0,)), "its tensors claim too many bytes for a file of"),
    "empty": (tensor(shape=(0, 2**40), stride=(1, 1)), None),
    "missing": (tensor(source=storage("1")), "damaged: x/data/1 is missing"),
    "path": (tensor(source=storage("../../../etc/passwd")), "damaged: x/data/../../../etc/passwd is missing"),
    "type": (tensor(source=storage(kind=b"torch\nQInt8Storage")), "contains torch.QInt8Storage, which is not a tensor"),
    "no storage": (tensor(source=b"N"), "damaged: the pickle has a tensor without a storage"),
    "called type": (b"ctorch\nFloatStorage\n)R", "calls torch.FloatStorage, which is not a tensor"),
    "called text": (text("x") + b")R", "damaged: the pickle calls something that is not a name"),
    "class": (b"(ios\nsystem\n", "damaged: the pickle has the instruction INST"),
    "extension": (b"\x82\x01", "damaged: the pickle has the instruction EXT1"),
    "memo": (b"h\x07", "damaged: the pickle cannot be read (KeyError: 7)"),
    "mark": (b"t", "damaged: the pickle"),
    "length": (b"X\xff\xff\xff\x7fabc", "damaged: the pickle cannot be read (ValueError: expected 2147483647 bytes"),
    "dtype": (b"cnumpy\ndtype\n" + text("V99999999999") + b"\x85R", "contains a NumPy array of dtype V99999999999"),
    "number": (
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n" + text("f8") + b"\x85Rcnumpy\nndarray\n\x86R",
        "damaged",
    ),
    "encoding": (
        b"c_codecs\nencode\n" + text("x") + text("zip") + b"\x86R",
        "damaged: the pickle has bytes in an",
    ),
}


@pytest.mark.parametrize("name", LYING)
def test_lying_pickles_are_refused(tmp_path, name):
    item, expected = LYING[name]
    path = archive(tmp_path / "x.pt", pickled(item), FOUR)
    if expected is None:
        assert read_checkpoint(path).arrays["0"].size == 0
    else:
        assert refusal(path).startswith(expected)


def doubled(start, step, times):
    """Return a pickled value that refers twice to a value that refers twice to a value ..."""
    data = start + b"q\x00"
    for level in range(times):
        inner = b"h" + bytes([level])
        data += step(inner) + b"q" + bytes([level + 1])
    return data


BOMBS = {
    "lists": doubled(b"]", lambda inner: b"](" + inner + inner + b"e", 60),
    "tuples": doubled(b"K\x01", lambda inner: inner + inner + b"\x86", 60),
    "keys": doubled(b"K\x01", lambda inner: inner + inner + b"\x86", 60) + b"}" + b"h<" + b"Ns",
    "names": text("a" * 900) + b"q\x00}" + b"".join(b"q\x01}h\x00h\x01s" for _ in range(200)),
    "copies": b"(" + b"N" * 1000 + b"lq\x00" + b"cbuiltins\nset\nq\x01" + b"h\x01h\x00\x85R" * 3000,
    "bytes": text("a" * 10**6)
    + b"q\x000c_codecs\nencode\nq\x01"
    + text("latin1")
    + b"q\x02"
    + b"h\x01h\x00h\x02\x86R" * 3000,
    "instructions": b"N0" * 1_100_000,
    "states": b"(" + b"N" * 100_000 + b"tq\x000}" + b"h\x00b" * 100_000,
    "deep": b"]" * 100_000 + b"a" * 99_999,
    "itself": b"]q\x00h\x00a",
    "arrays": b"(" + tensor(shape=(2**20,), stride=(0,)) * 100 + b"l",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_end_early(tmp_path, name):
    data = BOMBS[name]
    path = archive(tmp_path / "x.pt", b"\x80\x02(" + tensor() + data + b"l.", FOUR)
    assert any(word in refusal(path) for word in ("more than", "too many", "as a key", "a name of"))


def test_values_in_messages_are_cut_before_they_are_written(tmp_path):
    nested = b"(" + BOMBS["tuples"] + b"1h<"
    for item, expected in (
        (b"cnumpy\ndtype\n" + nested + b"\x85R", "contains a NumPy array of dtype (((...), (...)), ((...), (...)));"),
        (b"ctorch\ndevice\n" + nested + b"\x85R", "damaged: the pickle has a device without a name or a number"),
    ):
        assert refusal(archive(tmp_path / "x.pt", pickled(item), FOUR)).startswith(expected)


@pytest.mark.parametrize("module", ["os.system", "builtins.eval", "torch.load", "torch._utils._import_dotted_name"])
def test_nothing_that_a_pickle_names_is_imported(tmp_path, module):
    owner, _, name = module.rpartition(".")
    call = f"c{owner}\n{name}\n".encode() + text("x") + b"\x85R"
    stacked = text(owner) + text(name) + b"\x93" + text("x") + b"\x85R"
    for item in (call, stacked):
        assert refusal(archive(tmp_path / "x.pt", pickled(item))) == f"contains {module}, which is not a tensor"


def test_zips_that_lie_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x/data.pkl", pickled(tensor(source=storage(total=2**27), shape=(2**27,))))
        file.writestr("x/data/0", bytes(2**20))
        file.getinfo("x/data/0").file_size = 2**29
    assert refusal(path).startswith("it claims 536,871,")
    central = struct.pack("<4s28xH12x6x", b"PK\1\2", 0)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 2**31, 4, 0)
    assert refusal(written(path, b"PK\3\4" + central + end)).startswith("its list of members has 2,147,483,648 bytes")
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2**20, 2**20, 2**40, 4)
    locator, end = struct.pack("<4sLQL", b"PK\6\7", 0, 4, 1), end.replace(struct.pack("<L", 2**31), b"\xff" * 4)
    text = refusal(written(path, b"PK\3\4" + record + locator + end))
    assert text.startswith("its list of members has 1,099,511,627,776 bytes; expected at most")
    data = archive(path, pickled(tensor()), FOUR).read_bytes()
    for length in (0, 10, 100, len(data) - 30):
        refusal(written(path, data[:length]))
    flipped = data.replace(FOUR["0"], FOUR["0"][::-1])
    assert "Bad CRC-32" in refusal(written(path, flipped))


def test_legacy_files_that_lie_are_refused(torch, tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"a": torch.arange(5.0), "b": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        refusal(written(path, data[:length]))
    counter = struct.pack("<q", 5)
    for count in (4, 6, 2**40, -1):
        assert "of 5 elements" in refusal(written(path, data.replace(counter, struct.pack("<q", count))))


def test_what_is_no_checkpoint_is_named(tmp_path):
    path = tmp_path / "x"
    assert refusal(path) == "does not exist"
    assert refusal(tmp_path).startswith("is a folder; expected a file of torch.save")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert refusal(tmp_path / "pipe").startswith("is not a regular file")
    cases = {
        b"": "is empty; expected",
        b"\n<!DOCTYPE html><html>quota": "is a web page, not a file of weights: the download did not work",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:": "is a pointer of Git LFS, not the file itself",
        b"\x93NUMPY\x01\x00": "is a single .npy array",
        b"\x1f\x8b\x08": "is compressed by gzip: unpack it",
        b"x" * 257 + b"ustar\x0000": "is a tar archive: unpack it",
        b"hello": "has an unknown format",
        pickle.dumps({"a": 1}): "is a pickle, but not one of torch.save",
    }
    for content, start in cases.items():
        assert refusal(written(path, content)).startswith(start)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("resnet20.pth", b"x")
    assert refusal(path) == "is a zip of resnet20.pth; unpack it, and name the file of weights"


# ------------------------------------------------------------------------------------------------- npz


def test_npz_files_of_chainer_and_lasagne(tmp_path):
    arrays = {"features/init_block/conv/W": np.ones((2, 3), np.float16), "features/bn/N": np.array(5)}
    np.savez_compressed(tmp_path / "x.npz", **arrays, note="best")
    checkpoint = read_checkpoint(tmp_path / "x.npz")
    assert checkpoint.format == "npz" and checkpoint.facts == {"note": "best"}
    assert list(checkpoint.arrays) == list(arrays)
    np.testing.assert_array_equal(checkpoint.arrays["features/init_block/conv/W"], arrays["features/init_block/conv/W"])
    np.savez(tmp_path / "y.npz", **{f"arr_{n}": np.full(2, n) for n in (10, 2, 0)})
    assert list(read_checkpoint(tmp_path / "y.npz").arrays) == ["arr_0", "arr_2", "arr_10"]


def test_an_index_beside_a_file_is_not_read_in_its_place(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    (tmp_path / "x.npz.index").write_bytes(b"of another checkpoint")
    assert list(read_checkpoint(tmp_path / "x.npz").arrays) == ["a"]


def test_npz_files_with_pickles_are_refused(tmp_path):
    marker = tmp_path / "executed"
    np.savez(tmp_path / "x.npz", a=np.array([Touch(marker)], object))
    assert refusal(tmp_path / "x.npz") == "a holds object; expected plain numbers or text"
    np.savez(tmp_path / "y.npz", a=np.array(["text"]))
    assert refusal(tmp_path / "y.npz") == "contains no arrays of numbers"
    assert not marker.exists()


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="no checkpoints of other projects")
def test_published_files():
    names = {"resnet20-12fca82f.th": 97, "resnet32-d509ac18.th": 157, "resnet56-4bfd9763.th": 277}
    for name, count in names.items():
        checkpoint = read_checkpoint(FOREIGN / f"akamaster_{name}")
        assert len(checkpoint.arrays) == count and checkpoint.facts["best_prec1"] > 91
        assert checkpoint.arrays["state_dict/module.linear.weight"].shape == (10, 64)
    distiller = read_checkpoint(FOREIGN / "distiller_dense.pth.tar")
    assert distiller.facts["arch"] == "resnet20_cifar"
    lasagne = read_checkpoint(FOREIGN / "lasagne_n5.npz")
    assert list(lasagne.arrays)[-1] == "arr_156" and lasagne.arrays["arr_0"].shape == (16, 3, 3, 3)


# ------------------------------------------------------------------------------------------------- TensorFlow


def test_tensorflow_checkpoints_are_read_as_tensorflow_reads_them(tmp_path):
    tf = pytest.importorskip("tensorflow")
    dtypes = "float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 uint16 uint32 uint64 bool".split()
    values = np.random.default_rng(0).normal(0, 9, (3, 5, 2))
    variables = {name: tf.Variable(tf.cast(tf.constant(values), name)) for name in dtypes}
    # Long enough for several blocks of the index.
    layers = [tf.Module() for _ in range(200)]
    for layer in layers:
        layer.kernel = tf.Variable(tf.ones((2, 3)))
    checkpoint = tf.train.Checkpoint(text=tf.Variable("a"), scalar=tf.Variable(3.5), layers=layers, **variables)
    prefix = Path(checkpoint.write(str(tmp_path / "x.tf")))
    read = read_checkpoint(prefix)
    reader = tf.train.load_checkpoint(str(prefix))
    assert read.format == "tensorflow" and not read.facts
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    assert set(read.arrays) == {name for name in names if not name.startswith("text/")} and len(names) == 215
    for name, array in read.arrays.items():
        expected = reader.get_tensor(name)
        expected = expected.astype(np.float32) if "bfloat16" in name else expected
        assert array.dtype == expected.dtype and array.shape == expected.shape
        np.testing.assert_array_equal(array, expected)
    for name in ("x.tf.index", "x.tf.data-00000-of-00001"):
        assert list(read_checkpoint(tmp_path / name).arrays) == list(read.arrays)
    checkpoint.save(str(tmp_path / "numbered"))
    assert refusal(tmp_path / "checkpoint").startswith("is TensorFlow's list of checkpoints")


def varint(number):
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def block(entries, kind=0):
    """Return a block of a table with its checksum, and the length of its content."""
    content = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    content += struct.pack("<II", 0, 1)
    checksum = masked(crc32c(content + bytes([kind])))
    return content + bytes([kind]) + struct.pack("<I", checksum), len(content)


def index(entries, kind=0, blocks=1):
    """Return a TensorFlow index, which may refer to its only block of entries several times."""
    data, length = block(entries, kind)
    handles, handles_length = block([(bytes([number]), varint(0) + varint(length)) for number in range(blocks)])
    footer = varint(0) + varint(length) + varint(len(data)) + varint(handles_length)
    return data + handles + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def entry(shape=(16,), dtype=1, size=64, offset=0, shard=0, checksum=None, more=b""):
    sides = b"".join(b"\x12" + varint(len(varint(side)) + 1) + b"\x08" + varint(side) for side in shape)
    data = b"\x08" + varint(dtype) + b"\x12" + varint(len(sides)) + sides + b"\x18" + varint(shard)
    checksum = masked(crc32c(bytes(64))) if checksum is None else checksum
    return data + b"\x20" + varint(offset) + b"\x28" + varint(size) + b"\x35" + struct.pack("<I", checksum) + more


HEADER = (b"", b"\x08\x01")
LYING_INDEXES = {
    "size": (entry(size=2**40), "damaged, or x.data-00000-of-00001 is truncated: it has 64 bytes"),
    "offset": (entry(offset=2**63), "damaged, or x.data-00000-of-00001 is truncated: it has 64 bytes"),
    "shape": (entry((2**33,)), "damaged: a claims the shape (8589934592,) in 64 bytes"),
    "negative": (entry((2**64 - 1,)), "damaged: a claims a side of 18446744073709551615"),
    "dimensions": (entry((1,) * 300, size=4), "damaged: the index has no shape for a"),
    "dtype": (entry(dtype=99), "a has TensorFlow's dtype 99; expected numbers"),
    "resource": (entry(dtype=20), "a has TensorFlow's dtype 20; expected numbers"),
    "text": (entry(dtype=7), "contains no tensors"),
    "shard": (entry(shard=2**31), "x.data-2147483648-of-00001 is missing beside it"),
    "checksum": (entry(checksum=0), "damaged: the checksum of a is wrong"),
    "parts": (entry(more=b"\x3a\x00"), "a is stored in parts"),
    "field": (entry(more=b"\x48\x01"), "damaged: the index describes a by a field 9"),
    "end": (entry(more=b"\x12\x7f"), "damaged: the index describes a by"),
    "number": (entry(more=b"\xff" * 11), "damaged: the index has no number"),
}


@pytest.mark.parametrize("name", LYING_INDEXES)
def test_lying_tensorflow_indexes_are_refused(tmp_path, name):
    data, expected = LYING_INDEXES[name]
    (tmp_path / "x.data-00000-of-00001").write_bytes(bytes(64))
    assert refusal(written(tmp_path / "x.index", index([HEADER, (b"a", data)]))).startswith(expected)


def test_the_files_of_a_tensorflow_checkpoint(tmp_path):
    files = [written(tmp_path / "x.index", index([HEADER, (b"a", entry())]))]
    files.append(written(tmp_path / "x.data-00000-of-00001", bytes(64)))
    written(tmp_path / "x.data-00000-of-00002", b"of an earlier checkpoint")
    assert files_of(tmp_path / "x") == files_of(files[0]) == files_of(files[1]) == files
    own = written(tmp_path / "x.pth", b"")
    assert files_of(own) == [own]


def test_lying_tensorflow_tables_are_refused(tmp_path):
    (tmp_path / "x.data-00000-of-00001").write_bytes(bytes(64))
    path = tmp_path / "x.index"
    good = index([HEADER, (b"a", entry())])
    assert read_checkpoint(written(path, good)).arrays["a"].shape == (16,)
    cases = {
        index([HEADER, (b"a", entry()), (b"b", entry())]): "damaged, or x.data-00000-of-00001 is truncated",
        index([HEADER, (b"a", entry()), (b"a", entry())]): "damaged: the index has a twice",
        index([HEADER, (b"a", entry())], blocks=100): "damaged: ",
        index([HEADER, (b"a", entry())], kind=1): "the index is compressed",
        index([HEADER, (b"a" * 2000, entry())]): "damaged: an entry of the index is longer than its block",
        index([(b"", b"\x08\x00")]): "damaged: the index does not say how many data files there are",
        index([(b"", b"\x08\x01\x10\x01")]): "was written by a big-endian machine",
        index([HEADER] * 200_002): "damaged: the index has its header twice",
        good[:-1]: "damaged: the index does not end with the magic number of a table",
        bytes([good[0] ^ 1]) + good[1:]: "damaged: the checksum of the index is wrong at byte 0",
    }
    for content, start in cases.items():
        assert refusal(written(path, content)).startswith(start)
    os.truncate(written(path, good), 2**25)
    assert refusal(path) == "the index has more than 16,777,216 bytes"
    written(path, good)
    (tmp_path / "x.data-00000-of-00001").unlink()
    assert refusal(tmp_path / "x") == "x.data-00000-of-00001 is missing beside it"


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 31, 32, 33, 1000, 4097])
def test_checksums_equal_the_definition(length):
    data = np.random.default_rng(length).bytes(length)
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    assert crc32c(data) == register ^ 0xFFFFFFFF
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720


# ------------------------------------------------------------------------------------------------- Keras, safetensors


def test_keras_files_are_read_in_the_order_of_their_lists(tmp_path):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((8, 8, 3)), *(keras.layers.Conv2D(4, 3, name=name) for name in "ba")])
    model.save(tmp_path / "whole.h5")
    model.save_weights(tmp_path / "x.weights.h5")
    checkpoint = read_checkpoint(tmp_path / "whole.h5")
    assert checkpoint.format == "keras" and checkpoint.facts["keras_version"] == keras.__version__
    assert [Path(name).parts[1] for name in checkpoint.arrays] == ["b", "b", "a", "a"]
    for array, weight in zip(checkpoint.arrays.values(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(array, weight)
    assert len(read_checkpoint(tmp_path / "x.weights.h5").arrays) == 4


def test_keras_2_weights_of_subclassed_models(tmp_path):
    with h5py.File(tmp_path / "x.tf2.h5", "w") as file:
        file.attrs["layer_names"] = [b"features", b"output1"]
        names = [b"features/init_block/conv/kernel:0", b"features/a/bn/gamma:0"]
        for name in names:
            file[f"features/{name.decode()}"] = np.ones(2, np.float32)
        file["features"].attrs["weight_names0"] = names[:1]  # long lists are split
        file["features"].attrs["weight_names1"] = names[1:]
        file["output1/output1/bias:0"] = np.zeros(3)
        file["output1"].attrs["weight_names"] = [b"output1/bias:0", b"missing"]
    expected = [*(f"features/{name.decode()}" for name in names), "output1/output1/bias:0"]
    assert list(read_checkpoint(tmp_path / "x.tf2.h5").arrays) == expected


def test_lying_keras_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", (2**40,), np.float32, chunks=(2**10,))
    assert refusal(tmp_path / "x.h5").startswith("/a claims the shape (1099511627776,)")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("a", (4,), np.float32, external=[("/etc/passwd", 0, 16)])
    assert refusal(tmp_path / "x.h5") == "/a is kept in another file"
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = ["text"]
    assert refusal(tmp_path / "x.h5") == "contains no arrays of numbers"


def test_safetensors_files(torch, tmp_path):
    from safetensors.torch import save_file

    tensors = {"a": torch.randn(2, 3), "b": torch.arange(4), "c": torch.randn(5).bfloat16(), "d": torch.ones(()).half()}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    checkpoint = read_checkpoint(tmp_path / "x.safetensors")
    assert checkpoint.format == "safetensors" and checkpoint.facts == {"format": "pt"}
    for name, tensor in tensors.items():
        expected = (tensor.float() if name == "c" else tensor).numpy()
        assert checkpoint.arrays[name].dtype == expected.dtype
        np.testing.assert_array_equal(checkpoint.arrays[name], expected)
    data = (tmp_path / "x.safetensors").read_bytes()
    huge = data.replace(b'"shape":[2,3]', b'"shape":[9,9]')
    for content in (data[:50], data[:-1], data + b"x", huge, struct.pack("<Q", 2**60) + data[8:]):
        assert refusal(written(tmp_path / "y", content)).startswith("damaged, or cannot be read (SafetensorError: ")


@pytest.mark.skipif(not FOREIGN.is_dir(), reason="no checkpoints of other projects")
def test_published_tensorflow_checkpoints():
    for depth, count in ((20, 97), (32, 157)):
        checkpoint = read_checkpoint(FOREIGN / f"sjmikler_resnet{depth}.tf")
        assert len(checkpoint.arrays) == count
        assert checkpoint.arrays["layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"].shape == (3, 3, 3, 16)
