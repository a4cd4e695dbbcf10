"""Importing by name: hashes, the cache, what weight files say, and every place that takes the name of a checkpoint."""

import dataclasses
import hashlib
import json
import random
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import cifarzoo
from cifarzoo.cli.application import command
from cifarzoo.conversion import cache, entries
from cifarzoo.conversion.checkpoint import Checkpoint
from cifarzoo.conversion.content import content_sha256
from cifarzoo.conversion.entries import Entry, File
from cifarzoo.errors import UnreachableError, WeightsError
from cifarzoo.evaluation import imported
from cifarzoo.evaluation.load_model import load_model
from cifarzoo.experiment.schema import Experiment
from cifarzoo.models.registry import build_described, create_model
from cifarzoo.pretrained.arrays import read_arrays
from cifarzoo.pretrained.description import Description, description_of, read_description, write_description
from cifarzoo.pretrained.selection import foreign_entry, source_named
from cifarzoo.training.build import build_model

pytest.importorskip("torch")
import foreign_networks as foreign
import test_conversion_download
import torch
from test_conversion import RESNET20, TORCHVISION, check_equal, images, run

NAME = "akamaster/tiny"
host = test_conversion_download.host


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A checkpoint as PyTorch saves it, and the logits of its network."""
    net = foreign.Net()
    expected = run(RESNET20, net, 10, TORCHVISION)
    path = tmp_path_factory.mktemp("published") / "tiny-1234.pt"
    torch.save({"state_dict": {name: torch.from_numpy(array) for name, array in net.state.items()}}, path)
    return path, expected


def entry_at(url, path):
    """Return an entry of the table for the checkpoint at an address."""
    file = File(url, "torch", {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}, path.stat().st_size)
    return Entry(
        name=NAME,
        files=((file,),),
        factory="cifar_resnet20",
        arguments={"shortcut_type": "B"},
        classes=10,
        dataset="cifar10",
        statistics="half",
        layout="torchvision",
        selection="last epoch",
        protocol="last epoch",
        license="MIT",
        license_url="https://example.org/LICENSE",
        homepage="https://example.org",
        error=8.5,
    )


def enter(entry, monkeypatch, folder):
    """Put an entry into the table, and use an empty cache."""
    known = entries.entries() | {NAME: entry}
    monkeypatch.setattr(entries, "entries", lambda: known)
    monkeypatch.setenv("CIFARZOO_CACHE", str(folder))


@pytest.fixture
def entry(published, tmp_path, monkeypatch):
    """An entry of the table, an empty cache, and no network."""
    entry = entry_at("https://example.org/tiny-1234.pt", published[0])
    enter(entry, monkeypatch, tmp_path / "cache")

    def no_network(file, folder, progress=None, read=None):
        whole = folder / "tiny-1234.pt"
        if not whole.is_file():
            raise WeightsError(f"{file.url}: cannot be reached; put it at {whole}")
        return whole

    monkeypatch.setattr(cache.download, "fetch", no_network)
    return entry


def put(published):
    """Put the checkpoint where a download would be."""
    put_bytes(published[0].read_bytes())


def put_bytes(content):
    folder = cache.cache_folder() / "downloads" / "akamaster"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tiny-1234.pt").write_bytes(content)


def test_from_a_name_over_a_server_to_logits(host, published, tmp_path, monkeypatch):
    path, expected = published
    host.files["/tiny-1234.pt"] = path.read_bytes()
    entry = entry_at(host.url("/tiny-1234.pt"), path)
    enter(entry, monkeypatch, tmp_path / "cache")
    model = cifarzoo.load(NAME)
    check_equal(lambda x: model((x * 0.5 + 0.5) * 255), expected)
    assert len(host.requests) == 1
    cifarzoo.load(NAME)
    assert len(host.requests) == 1  # from the cache
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    host.files["/tiny-1234.pt"], host.tag = bytes(damaged), '"2"'
    monkeypatch.setenv("CIFARZOO_CACHE", str(tmp_path / "other"))
    with pytest.raises(WeightsError, match="SHA-256 .* instead of"):
        cifarzoo.load(NAME)
    assert not [path for path in (tmp_path / "other").rglob("*") if path.suffix in (".pt", ".h5", ".part")]


def test_a_converted_file_is_a_weight_file_that_knows_its_source(entry, published):
    path = cache.weight_file(entry, build_described, published[0])
    description = read_description(path)
    assert path == cache.cache_folder() / "converted" / "akamaster" / "tiny.weights.h5"
    assert (description.factory, description.classes) == ("cifar_resnet20", 10)
    assert description.arguments["block_type"] == "original"  # defaults are filled in
    assert (description.statistics, description.dataset) == ("half", "cifar10")
    facts = description.source
    assert facts["files"] == {entry.files[0][0].url: entry.files[0][0].hashes["sha256"]}
    assert facts["content_sha256"] == content_sha256(read_arrays(path))
    assert (facts["name"], facts["license"], facts["reported_error"]) == (NAME, "MIT", 8.5)


def test_loaded_by_path_in_another_process_it_normalizes_as_its_source(entry, published):
    path = cache.weight_file(entry, build_described, published[0])
    pixels = (images() * 0.5 + 0.5) * 255
    code = (
        "import sys, numpy as np, cifarzoo\n"
        "model = cifarzoo.load(sys.argv[1])\n"
        "np.save(sys.argv[3], model(np.load(sys.argv[2])))\n"
    )
    given, got = path.with_name("images.npy"), path.with_name("logits.npy")
    np.save(given, pixels)
    subprocess.run([sys.executable, "-c", code, str(path), str(given), str(got)], check=True)
    scale = np.abs(published[1]).max()
    np.testing.assert_allclose(np.load(got) / scale, published[1] / scale, rtol=1e-4, atol=1e-4)


def test_every_place_takes_the_name(entry, published, caplog):
    put(published)
    model = cifarzoo.load(NAME)
    scaled = (images() * 0.5 + 0.5) * 255
    check_equal(lambda _: model(scaled), published[1])
    assert create_model("AkaMaster/Tiny").output_shape == (None, 10)
    loaded = load_model(NAME)
    assert (loaded.dataset, loaded.source) == ("cifar10", NAME)
    assert load_model("cifar_resnet20", NAME).source == NAME
    tuned = cifarzoo.cifar_resnet20(load_weights=NAME, classes=37)
    assert f"backbone from {NAME} (10 classes), fresh classifier for 37 classes" in caplog.text
    assert description_of(tuned).statistics == "half"
    np.testing.assert_array_equal(tuned.get_layer("stem_conv").kernel, model.get_layer("stem_conv").kernel)
    with pytest.raises(WeightsError, match="akamaster/tiny: contains cifar_resnet20.*not cifar_resnet32"):
        cifarzoo.cifar_resnet32(load_weights=NAME)


def test_experiments_start_from_a_checkpoint(entry, published, caplog):
    put(published)
    experiment = Experiment(
        model="cifar_resnet20",
        model_parameters={"shortcut_type": "B"},
        dataset="cifar100",
        init_weights=NAME,
    )
    model = build_model(experiment, 100, seed=0)
    np.testing.assert_array_equal(
        model.get_layer("stem_conv").kernel, cifarzoo.load(NAME).get_layer("stem_conv").kernel
    )
    assert "input normalized by cifar100; the weights were trained with half" in caplog.text


def test_the_command_shows_an_entry_of_the_table(entry, capsys):
    command()(["show", NAME, "--format", "markdown"], standalone_mode=False)
    out = capsys.readouterr().out
    assert "reported error: 8.50 % (last epoch)" in out and "input: normalized by half" in out


def test_the_cache_is_used_and_a_damaged_file_is_made_again(entry, published, monkeypatch):
    path = cache.weight_file(entry, build_described, published[0])
    whole = path.read_bytes()
    written = path.stat().st_mtime_ns
    assert cache.weight_file(entry, build_described) == path  # no network is needed
    assert path.stat().st_mtime_ns == written
    damaged = bytearray(whole)
    kernel = read_arrays(path).layers["stem_conv"][0]
    at = whole.index(kernel.tobytes())
    damaged[at + 1] ^= 1  # a number that is only slightly different
    path.write_bytes(damaged)
    with pytest.raises(WeightsError, match="cannot be reached; put it at"):
        cache.weight_file(entry, build_described)
    put(published)
    cache.weight_file(entry, build_described)
    assert content_sha256(read_arrays(path)) == read_description(path).source["content_sha256"]
    # What the table says now decides: here a newer version of it corrects the statistics.
    changed = replace(entry, statistics="unit")
    assert read_description(cache.weight_file(changed, build_described)).statistics == "unit"


def test_a_file_is_converted_again_when_its_entry_changes(entry, published):
    path = cache.weight_file(entry, build_described, published[0])
    assert cache._is_current(path, entry)
    (file,) = entry.files[0]
    other = {"factory": "cifar_resnet32", "arguments": {}, "classes": 100, "dataset": "cifar100", "statistics": "unit"}
    other |= {"layout": "kuangliu", "epsilon": 1e-3, "license": "BSD", "license_url": "https://example.org/NEW"}
    other |= {"selection": "not stated", "protocol": "unknown", "homepage": "https://example.net", "error": 8.0}
    changes = [{"hashes": {"sha256": "0" * 64}}, {"url": "https://example.net/x.pt"}, {"layout": "kuangliu"}]
    changed = [replace(entry, files=((replace(file, **change),),)) for change in changes]
    changed += [replace(entry, **{key: value}) for key, value in other.items()]
    assert not any(cache._is_current(path, newer) for newer in changed)
    assert cache._is_current(path, replace(entry, remark="new", tried=True, trainable=1))


def test_files_without_a_hash_are_marked_and_stay_the_same(entry, published, monkeypatch, caplog):
    (file,) = entry.files[0]
    bare = replace(entry, files=((replace(file, hashes={}, size=None),),))
    monkeypatch.setitem(entries.entries(), NAME, bare)
    path = cache.weight_file(bare, build_described, published[0])
    source_named(NAME, build_described)
    assert f"{NAME}: not verified: its source publishes no hash, and the file was given by hand" in caplog.text
    cache._same_as_before({file.url: "1" * 64}, bare, path)  # a download takes precedence over a file given by hand
    description = read_description(path)
    facts = description.source | {"verified": cache._verified(bare, by_hand=False)}
    write_description(path, replace(description, source=facts))
    cache._same_as_before({file.url: facts["files"][file.url]}, bare, path)
    cache._same_as_before({file.url: "1" * 64}, entry, path)  # its hash was checked
    with pytest.raises(WeightsError, match=f"sends another file than before.*to accept it, delete {path}"):
        cache._same_as_before({file.url: "1" * 64}, bare, path)


def test_an_unreadable_file_in_the_cache_is_named(entry):
    (file,) = entry.files[0]
    bare = replace(entry, files=((replace(file, hashes={}, size=None),),))
    put_bytes(b"junk")
    with pytest.raises(WeightsError, match="tiny-1234.pt: has an unknown format.*; delete it to download it again"):
        cache.weight_file(bare, build_described)


def test_alternatives_of_a_host_that_is_unreachable_are_not_tried(entry, monkeypatch, tmp_path):
    (file,) = entry.files[0]
    urls = [f"https://{name}" for name in ("a.org/1.pt", "a.org/2.pt", "b.org/3.pt", "a.org/4.pt")]
    several, tried = replace(entry, files=tuple((replace(file, url=url),) for url in urls)), []

    def fetch(file, *_):
        tried.append(file.url)
        raise UnreachableError(file.url)

    monkeypatch.setattr(cache.download, "fetch", fetch)
    with pytest.raises(WeightsError, match="a.org/1"):
        cache.weight_file(several, build_described)
    assert tried == [urls[0], urls[2]]
    (cache.cache_folder() / "downloads" / "akamaster" / "4.pt").write_bytes(b"")
    tried.clear()
    with pytest.raises(WeightsError):
        cache.weight_file(several, build_described)
    assert tried[0] == urls[3]


def test_a_cache_that_cannot_be_written(entry, published, tmp_path, monkeypatch):
    path = cache.weight_file(entry, build_described, published[0])

    def no_lock(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cache, "locked", no_lock)
    assert cache.weight_file(entry, build_described) == path
    path.unlink()
    with pytest.raises(
        WeightsError, match=f"^{NAME}: {path}: Permission denied; files go to .*, or where CIFARZOO_CACHE says"
    ):
        cache.weight_file(entry, build_described)
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CIFARZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="where CIFARZOO_CACHE says"):
        cache.weight_file(entry, build_described)


def test_another_file_is_refused_and_leaves_nothing(entry, published, tmp_path):
    other = tmp_path / "tiny-1234.pt"
    other.write_bytes(published[0].read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="not the published file: SHA-256") as failure:
        cache.weight_file(entry, build_described, other)
    assert "delete" not in str(failure.value)  # it is the user's own
    assert not list(cache.converted_path(entry).parent.glob("*.h5"))


def test_a_zip_and_its_member_are_both_the_published_file(entry, published, tmp_path):
    member = File(
        "https://example.org/tiny-1234.pt.zip",
        "torch",
        {"sha1_of_member": hashlib.sha1(published[0].read_bytes()).hexdigest()},
        member="tiny-1234.pt",
    )
    zipped = dataclasses.replace(entry, files=((member,),))
    with zipfile.ZipFile(tmp_path / "mine.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(published[0], "tiny-1234.pt")
    hashes = set()
    for path in (tmp_path / "mine.zip", published[0]):
        facts = read_description(cache.weight_file(zipped, build_described, path)).source
        hashes.add((facts["content_sha256"], *facts["files"].values()))
    assert len(hashes) == 1


@pytest.mark.parametrize("name", ["net.tf", "net.tf.index", "net.tf.data-00001-of-00002"])
def test_any_file_of_a_tensorflow_checkpoint_names_the_others(tmp_path, name):
    for part in ("index", "data-00000-of-00002", "data-00001-of-00002"):
        file = File(f"https://example.org/other.{part}", "tensorflow")
        assert cache._sibling(tmp_path / name, file) == tmp_path / f"net.tf.{part}"
    assert cache._sibling(tmp_path / name, File("https://example.org/net.h5", "keras")) == tmp_path / name


def test_a_zip_of_any_name_is_unpacked(entry, tmp_path):
    own = tmp_path / "x.npz.zip.1"
    with zipfile.ZipFile(own, "w") as archive:
        archive.writestr("x.npz", b"arrays")
    file = File("https://example.org/x.npz.zip", "npz", {"sha1_of_member": hashlib.sha1(b"arrays").hexdigest()})
    entry = dataclasses.replace(entry, files=((dataclasses.replace(file, member="x.npz"),),))
    path, _ = cache._own_file(own, entry)
    assert path.name == "x.npz" and path.read_bytes() == b"arrays"


def test_a_file_that_contradicts_the_table_is_refused(entry, published, monkeypatch):
    arrays = {"mu": np.full(3, 0.5), "sigma": np.full(3, 0.25)}
    monkeypatch.setattr(cache, "read_checkpoint", lambda path: Checkpoint("torch", arrays))
    with pytest.raises(WeightsError, match=r"tiny-1234.pt: the file normalizes the input by .*\(0.25, .*not by half"):
        cache.weight_file(entry, build_described, published[0])


def test_converting_draws_no_random_numbers(entry, published):
    random.seed(5)
    expected = random.random()
    random.seed(5)
    cache.weight_file(entry, build_described, published[0])
    assert random.random() == expected


def test_names_of_sources_and_of_nothing(entry):
    assert foreign_entry("runs/experiment") is None
    assert foreign_entry("resnet20_v1_cifar10") is None
    with pytest.raises(WeightsError, match="akamaster/resnet21: no such checkpoint; did you mean akamaster/resnet2"):
        foreign_entry("akamaster/resnet21")
    with pytest.raises(WeightsError, match="neither a .weights.h5 or .keras file nor published weights"):
        cifarzoo.load("nobody/resnet20")


def test_the_command_prints_both_facts_and_all_continues(entry, published, capsys, monkeypatch):
    command()(["import", NAME, "--file", str(published[0]), "--json"], standalone_mode=False)
    row = json.loads(capsys.readouterr().out)
    assert (row["name"], row["reported_error"], row["selection"]) == (NAME, 8.5, "last epoch")
    assert row["sha256"] == [entry.files[0][0].hashes["sha256"]]
    status = command()(["import", "--all", "akamaster", "--format", "json"], standalone_mode=False)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert status == 1
    assert "failure" not in rows[NAME]
    assert "cannot be reached" in rows["akamaster/resnet20"]["failure"]


def test_all_measures_once_and_one_failure_of_any_kind_does_not_stop_it(entry, monkeypatch, tmp_path):
    path = tmp_path / "tiny.weights.h5"
    contents = iter("aaabb")
    measured = []

    def measure(model, dataset, progress):
        measured.append(model.source)
        return {"error": 8.51, "n": 10_000}, None

    def converted(entry, *_):
        if entry.name != NAME:
            raise MemoryError("no room")
        return path

    monkeypatch.setattr(imported, "weight_file", converted)
    monkeypatch.setattr(
        imported, "read_description", lambda _: Description(source={"content_sha256": next(contents), "files": {}})
    )
    monkeypatch.setattr(imported, "load", lambda *_: None)
    monkeypatch.setattr(imported, "load_weights", lambda _: None)
    monkeypatch.setattr(imported, "evaluate", measure)
    monkeypatch.setattr(imported.keras.utils, "clear_session", lambda: None)  # which takes its time
    chosen = [entries.entries()["akamaster/resnet20"], entry]
    for total in (1, 1, 1):
        failed, row = imported.import_all(chosen, measure=True)
        assert failed["failure"].startswith("MemoryError: no room")
        assert (row["error"], row["images"], len(measured)) == (8.51, 10_000, total)
    next(imported.import_all([entry], measure=True))  # other weights now
    assert len(measured) == 2
    imported.import_checkpoint(entry, measure=True)  # asked for by name
    assert len(measured) == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected either the NAME of a checkpoint, --all SOURCE or --list"),
        ([NAME, "--all", "akamaster"], "expected either"),
        (["--list", "--json", "--format", "csv"], "--format: has no meaning with --json"),
        (["--all", "nobody"], "--all nobody: no checkpoint matches"),
        (["akamaster/nothing"], "no such checkpoint"),
        ([NAME], "cannot be reached; put it at"),
    ],
)
def test_wrong_calls_are_one_line(entry, arguments, message):
    with pytest.raises(Exception, match=message) as failure:
        command()(["import", *arguments], standalone_mode=False)
    assert "\n" not in str(failure.value)
