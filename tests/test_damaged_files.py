"""Files that are damaged or made to harm: one line, in bounded memory, without TensorFlow."""

import io
import json
import random
import struct
import zipfile

import numpy as np
import pytest
from mutations import mutated
from run_results import RESULTS

from cifarzoo import npz
from cifarzoo.errors import CheckpointError, CifarzooError, DataError, WeightsError
from cifarzoo.evaluation.predictions import load_predictions
from cifarzoo.pretrained.manifest import manifest_path, read_manifest
from cifarzoo.runs import checkpoint
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.tables import read_table

META = {
    "step": 3,
    "log_length": 5,
    "fingerprint": "f",
    "provenance": {"revision": None, "versions": {"keras": "3.10.0"}, "backend": "jax", "device": "cpu"},
    "seconds": 1.0,
    "steady": {"images": 0.0, "seconds": 0.0},
    "sums": {"loss": 1.0, "error": 1.0, "gradient_norm": 1.0, "steps": 2, "seconds": 1.0},
}


def zip_of(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def npy_bytes(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def header_only(shape, dtype="<f4"):
    """Return an .npy file that claims a shape and holds 16 bytes."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + bytes(16)


def patched(path, offset, value):
    """Change two bytes of the only member's entry, in its own header and in the directory of the archive."""
    data = bytearray(path.read_bytes())
    for start, shift in ((data.index(b"PK\x03\x04"), 0), (data.index(b"PK\x01\x02"), 2)):
        struct.pack_into("<H", data, start + offset + shift, value)
    path.write_bytes(data)


def encrypted(path):
    zip_of(path, {"x.npy": npy_bytes(np.arange(3))})
    patched(path, 6, 1)


def unknown_compression(path):
    zip_of(path, {"x.npy": npy_bytes(np.arange(3))})
    patched(path, 8, 97)


def bomb(path):
    """4 kB that claim 4 MB."""
    zip_of(path, {"x.npy": npy_bytes(np.zeros(10**6, np.float32))}, zipfile.ZIP_DEFLATED)


HOSTILE = {
    "an npy file": (lambda path: path.write_bytes(npy_bytes(np.arange(3))), "not an .npz file, or damaged"),
    "encrypted": (encrypted, "x.npy is encrypted"),
    "unknown compression": (unknown_compression, "x.npy is compressed by method 97"),
    "terabytes": (lambda path: zip_of(path, {"x.npy": header_only((10**12,))}), r"claims the shape \(1000000000000,\)"),
    "overflow": (lambda path: zip_of(path, {"x.npy": header_only((2**62, 4))}), r"claims the shape"),
    "negative": (lambda path: zip_of(path, {"x.npy": header_only((-1, -4))}), r"claims the shape \(-1, -4\)"),
    "pickle": (lambda path: np.savez(path, x=np.array([{}], object)), "x holds object"),
    "structure": (lambda path: np.savez(path, x=np.zeros(3, "f4,f4")), "x holds .*; expected plain numbers or text"),
    "bomb": (bomb, "it claims 4,000,128 bytes of arrays in"),
    "no array": (lambda path: zip_of(path, {"x.npy": b"text"}), "reading magic string"),
    "version": (lambda path: zip_of(path, {"x.npy": b"\x93NUMPY\x03\x00" + bytes(9)}), "x has version"),
    "no header": (
        lambda path: zip_of(path, {"x.npy": b"\x93NUMPY\x01\x00\x04\x00((((" + bytes(9)}),
        "EOF in multi-line statement",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_npz_files_that_numpy_would_not_survive(tmp_path, monkeypatch, name):
    monkeypatch.setattr(npz, "ALWAYS_ALLOWED", 2**20)
    make, message = HOSTILE[name]
    path = tmp_path / "checkpoint.npz"
    make(path)
    with pytest.raises(ValueError, match=message) as caught:
        npz.read(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300
    with pytest.raises(CheckpointError, match="checkpoint.npz: damaged .*; delete it to start this run again"):
        RunFolder(tmp_path).load_checkpoint()
    with pytest.raises(DataError, match=r"checkpoint.npz: cannot be read"):
        load_predictions(path)
    assert RunFolder(tmp_path).checkpoint_meta() is None


def test_npz_files_come_back_as_numpy_wrote_them(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array("text"), "c": np.zeros((0, 3), np.uint8)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "x.npz", **arrays)
        read = npz.read(tmp_path / "x.npz")
        assert list(read) == list(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array, strict=True)
    assert list(npz.read(tmp_path / "x.npz", only=("b",))) == ["b"]


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ('"x"', "valid dictionary"),
        ("3", "valid dictionary"),
        ("[" * 100_000, "nested too deeply"),
        ("{}", "__meta__.step: Field required"),
        (json.dumps(META | {"step": "three"}), "__meta__.step: "),
        (json.dumps(META | {"step": -1}), "__meta__.step: "),
        (json.dumps(META | {"log_length": None}), "__meta__.log_length: "),
        (json.dumps(META | {"steady": 3}), "__meta__.steady: "),
        (json.dumps({"step": 3, "fingerprint": "x"}), "__meta__.log_length: Field required"),
        (
            json.dumps({key: value for key, value in META.items() if key != "provenance"}),
            "__meta__.provenance: Field req",
        ),
        (json.dumps(META | {"provenance": {"device": 3}}), "__meta__.provenance.device"),
        (json.dumps(META | {"sums": {"loss": 1.0}}), "__meta__.sums.error: Field required"),
        (None, "__meta__ is missing"),
    ],
)
def test_meta_data_of_other_types(tmp_path, meta, message):
    path = tmp_path / "checkpoint.npz"
    np.savez(path, x=np.zeros(3), **({} if meta is None else {"__meta__": np.array(meta)}))
    with pytest.raises(CheckpointError, match=f"damaged .*{message}") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    assert checkpoint.read_meta(path) is None


def test_a_checkpoint_of_an_earlier_version_has_no_sources(tmp_path):
    checkpoint.save(tmp_path / "checkpoint.npz", {"x": np.zeros(3)}, META)
    arrays, meta = checkpoint.load(tmp_path / "checkpoint.npz")
    assert list(arrays) == ["x"] and meta == META


def test_a_checkpoint_of_other_numbers_is_another_model_s(tmp_path):
    path, state = tmp_path / "checkpoint.npz", {"a": np.zeros(3, np.float32), "seed": np.zeros(2, np.uint32)}
    checkpoint.check_state(path, {"a": np.zeros(3, np.float64), "seed": np.zeros(2, np.int64)}, state)
    for changed, message in (
        ({"a": np.zeros(3, complex)}, "a has values of kind c there and floats here"),
        ({"seed": np.zeros(2)}, "seed has floats there and integers here"),
        ({"a": np.zeros(4)}, r"a has shape \(4,\) there and shape \(3,\) here"),
        ({"b": np.zeros(4)}, "b exists there and not here$"),
    ):
        with pytest.raises(CheckpointError, match=f"made for another model: {message}"):
            checkpoint.check_state(path, state | changed, state)
    with pytest.raises(CheckpointError, match="made for another model: b exists here and not there$"):
        checkpoint.check_state(path, state, state | {"b": np.zeros(4)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{", "not text in UTF-8"),
        (b"[" * 100_000, "recursion limit"),
        (json.dumps(RESULTS | {"test": None}).encode(), "test.error is missing|validation.error is missing"),
        (json.dumps(RESULTS | {"test": {"error": 3.0}}).encode(), "test.nll is missing"),
        (json.dumps(RESULTS | {"test": {"error": "3", "nll": 1.0}}).encode(), "test.error is not a number"),
        (json.dumps(RESULTS | {"steps": "many"}).encode(), "steps Input should be a valid integer"),
        (json.dumps(RESULTS | {"versions": [1]}).encode(), "versions Input should be an object"),
    ],
)
def test_results_that_other_commands_could_not_use(tmp_path, content, message):
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        RunFolder(tmp_path).results()
    assert "\n" not in str(caught.value) and "results.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: {b: [", b"3", b"x: 2024-02-30", b"model: {a: 1, a: 2}"])
def test_configurations_that_are_none(tmp_path, content):
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(DataError, match="config.yaml: ") as caught:
        RunFolder(tmp_path).experiment()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"step\tloss\n", b"\xff\xfe\t1\n2\t3\n", b"step\n1\tx\n", b"step\n" + b"1" * 140_000, b"\x00\n\x00\n"],
)
def test_logs_that_are_no_tables(tmp_path, content):
    (tmp_path / "log.tsv").write_bytes(content)
    with pytest.raises(DataError, match="log.tsv: (no rows yet|not a table of numbers)") as caught:
        read_table(tmp_path / "log.tsv")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(4))
def test_mutated_files_are_one_line(tmp_path, seed):
    """40 mutations of each kind of file a run has; benchmarks/robustness tries more."""
    rng = random.Random(seed)
    np.savez(tmp_path / "checkpoint.npz", __meta__=np.array(json.dumps(META)), x=np.arange(50.0))
    np.savez(tmp_path / "logits.npz", test_logits=np.eye(9, 5) * 9, test_labels=np.arange(9) % 5, dataset=np.array(""))
    (tmp_path / "results.json").write_text(json.dumps(RESULTS), encoding="utf-8")
    (tmp_path / "log.tsv").write_text("step\tloss\n" + "10\t1.5\n" * 9, encoding="utf-8")
    folder = RunFolder(tmp_path)
    readers = {
        "checkpoint.npz": folder.load_checkpoint,
        "logits.npz": lambda: load_predictions(tmp_path / "logits.npz").describe(),
        "results.json": folder.results,
        "log.tsv": lambda: read_table(folder.log_path),
    }
    for name, read in readers.items():
        whole = (tmp_path / name).read_bytes()
        for _ in range(40):
            (tmp_path / name).write_bytes(mutated(whole, rng))
            try:
                read()
            except CifarzooError as failure:
                assert "\n" not in str(failure) and len(str(failure)) < 1000


@pytest.mark.parametrize(
    "change",
    [{"tag": 3}, {"metrics": {"error": "low"}}, {"bytes": "many"}, {"aliases": 3}, {"unknown": 1}, {"training": []}],
)
def test_manifests_with_other_types(tmp_path, change):
    (entry,) = json.loads(manifest_path().read_text(encoding="utf-8"))[:1]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps([entry]), encoding="utf-8")
    assert read_manifest(path)[0].tag == entry["tag"]
    for content in (json.dumps([entry | change]), "[3]", "3", "[" * 100_000, "\x00"):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(WeightsError, match="manifest.json: not a manifest of this version of cifarzoo") as caught:
            read_manifest(path)
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
