"""The readers to attack: how to make input for each from the originals, and what to call with it."""

import contextlib
import gzip
import io
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import checkpoints
import hostile
import mutations
import numpy as np
import yaml
from originals import Originals, archive_members, small_forms
from sandbox import Wrong

IMAGES = 50_000


@dataclass(frozen=True)
class Reader:
    """A reader under attack.

    Attributes:
        name: Its name in the table.
        share: Number of its inputs per 6,000.
        make: Makes an input (bytes, or the arguments of a command) from a `random.Random` and the originals.
        read: Calls the reader with an input; raises Wrong if the reader accepts an input that it must refuse.
        needs_keras: Whether it builds models.
        needs_run: Whether its originals are files of a run, which has to be trained.
    """

    name: str
    share: int
    make: Callable[[Any, Originals], Any]
    read: Callable[[Any, Originals], None]
    needs_keras: bool = False
    needs_run: bool = True


def in_scratch(name: str, data: bytes) -> Path:
    """Write an input to a file in the working directory."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# ----------------------------------------------------------------------------------------------------- experiments


def make_experiments(random, originals):
    """Mutate a file of experiments or a recipe."""
    names = ["tiny.yaml", "more.yaml", "more.yaml", "resnet20_90ep.yaml"]
    return mutations.mutate_yaml(random, originals.text(random.choice(names)), hostile.YAML_BOMBS)


def read_experiments(data, originals):
    """Read experiments and use them as training does, without training."""
    from cifarzoo.experiment.files import read_experiments

    _use(read_experiments(in_scratch("experiments.yaml", data)))


def _use(experiments):
    from cifarzoo.experiment.plan import Plan

    for experiment in experiments[:3]:
        experiment.fingerprint()
        plan = Plan(experiment, IMAGES)
        end = plan.next_end(0)
        rates = plan.rates(0, min(end, 100))
        if not np.isfinite(rates).all():
            raise Wrong(f"learning rates {rates[:3]}")
        plan.full_size_images(0)
        yaml.safe_dump(experiment.resolved())


def make_override(random, originals):
    """Make a --set option: a valid or slightly wrong key of an experiment, and a hostile value."""
    document = yaml.safe_load(originals.text("tiny.yaml"))
    path = [str(part) for part in random.choice([path for path in mutations.paths(document) if path])]
    if random.random() < 0.2:
        path[random.randrange(len(path))] = random.choice(("", "unknown", "a\0b", "grid", "recipe", "\x1b[", "x" * 400))
    value = random.choice(mutations.SCALARS)
    if random.random() < 0.3:
        value = "".join(random.choice(hostile.YAML_BOMBS[1:])(random))
    elif random.random() < 0.2:
        value = mutations.mutate_text(random, value).decode("utf-8", "replace")
    return [f"{'.'.join(path)}{random.choice(('=', '=', '=', '=', '', '==', ' = '))}{value}"]


def read_override(overrides, originals):
    """Read experiments with --set."""
    from cifarzoo.experiment.files import read_experiments

    _use(read_experiments(originals.folder / "tiny.yaml", overrides))


def make_policies(random, originals):
    """Mutate a list of policies."""
    return mutations.mutate_yaml(random, originals.text("policies.yaml"), hostile.YAML_BOMBS)


def read_policies(data, originals):
    """Read an experiment that names a file of policies."""
    from cifarzoo.experiment.files import read_experiments

    in_scratch("mutated.yaml", data)
    experiment = b"model: cifar_resnet20\naugmentation: [{policies: {file: mutated.yaml}}]\n"
    _use(read_experiments(in_scratch("one.yaml", experiment)))


def make_rows(random, originals):
    """Mutate the zoo's rows to train."""
    return mutations.mutate_yaml(random, originals.text("rows.yaml"), hostile.YAML_BOMBS)


def read_rows(data, originals):
    """Read rows to train."""
    from cifarzoo.publishing.wanted import read_rows

    in_scratch("resnet20_90ep.yaml", originals.text("resnet20_90ep.yaml").encode())
    _use([row.experiment for row in read_rows(in_scratch("rows.yaml", data), "runs")])


# ----------------------------------------------------------------------------------------------------- a run's files


def _run_with(name, data, originals):
    """Return the folder of a run in which one file is the input, and the others are links to the originals."""
    from cifarzoo.runs.folder import RunFolder

    folder = Path("runs") / "tiny" / "seed0"
    folder.mkdir(parents=True, exist_ok=True)
    for original in originals.run.iterdir():
        link = folder / original.name
        if original.name != name and not link.exists():
            link.symlink_to(original)
        elif original.name == name and link.is_symlink():
            link.unlink()
    (folder / name).write_bytes(data)
    return RunFolder(folder)


def _restore(name):
    """Restore the original file of the run for the next reader."""
    (Path("runs") / "tiny" / "seed0" / name).unlink(missing_ok=True)


def make_config(random, originals):
    """Mutate a run's config.yaml."""
    return mutations.mutate_yaml(random, (originals.run / "config.yaml").read_text("utf-8"), hostile.YAML_BOMBS)


def read_config(data, originals):
    """Read the configuration of a run, and compare it with an experiment."""
    run = _run_with("config.yaml", data, originals)
    try:
        from cifarzoo.experiment.schema import Experiment

        with contextlib.suppress(Exception):  # judged below; here it only has to return
            run.check_belongs_to(Experiment(model="cifar_resnet20"))
        _use([run.experiment()])
    finally:
        _restore("config.yaml")


def make_results(random, originals):
    """Mutate a run's results.json."""
    return mutations.mutate_json(random, (originals.run / "results.json").read_text("utf-8"), hostile.JSON_BOMBS)


def read_results(data, originals):
    """Read the results of a run, and print tables of them."""
    run = _run_with("results.json", data, originals)
    try:
        run.results()
        for form in ("markdown", "tsv", "json"):
            command(["table", "runs", "--format", form])
    finally:
        _restore("results.json")


def make_log(random, originals):
    """Mutate a run's log.tsv."""
    text = (originals.run / "log.tsv").read_text("utf-8")
    kind = random.random()
    if kind < 0.6:
        return hostile.tsv(random, text)
    return mutations.mutate_text(random, text) if kind < 0.8 else mutations.mutate_bytes(random, text.encode())


def read_log(data, originals):
    """Read a log, convert it, and print a table of its last row."""
    run = _run_with("log.tsv", data, originals)
    try:
        command(["table", "runs", "--file", "log.tsv"])
        command(["log", str(run)])
    finally:
        _restore("log.tsv")


def make_checkpoint(random, originals):
    """Mutate a checkpoint."""
    data = (originals.run / "checkpoint.npz").read_bytes()
    return mutations.mutate_bytes(random, data) if random.random() < 0.4 else hostile.npz(random, data)


def read_checkpoint(data, originals):
    """Load a checkpoint as resuming does, and read its meta data as the queue does."""
    from cifarzoo.runs import checkpoint

    expected, _ = checkpoint.load(originals.run / "checkpoint.npz")
    path = in_scratch("checkpoint.npz", data)
    found = checkpoint.read_meta(path)
    if found is not None and (not isinstance(found, dict) or "step" not in found):
        raise Wrong(f"meta data {found!r:.80}")
    arrays, found = checkpoint.load(path)
    checkpoint.check_state(path, arrays, expected)
    if not isinstance(found, dict) or not isinstance(found.get("step"), int):
        raise Wrong(f"meta data {found!r:.80}")
    if len(data) == (originals.run / "checkpoint.npz").stat().st_size:  # changed bits, which checksums detect
        different = [name for name in expected if not np.array_equal(arrays[name], expected[name], equal_nan=True)]
        if different:
            raise Wrong(f"other numbers in {different[0]}")


# ----------------------------------------------------------------------------------------------------- published files


def make_manifest(random, originals):
    """Mutate a manifest."""
    return mutations.mutate_json(random, originals.text("weights/manifest.json"), hostile.JSON_BOMBS)


def read_manifest(data, originals):
    """Read a manifest, describe and list its entries, and make their cards."""
    from cifarzoo.pretrained.description import describe_entry
    from cifarzoo.pretrained.manifest import find_entry
    from cifarzoo.publishing.weights_folder import WeightsFolder

    in_scratch("weights/manifest.json", data)
    weights = WeightsFolder("weights")
    entries = weights.entries()
    find_entry("resnet20", entries)
    for entry in entries:
        str(describe_entry(entry))
        if os.path.isabs(entry.file) or ".." in Path(entry.file).parts:
            raise Wrong(f"file {entry.file}")
    command(["list"], {"CIFARZOO_WEIGHTS": "weights"})
    command(["show", entries[0].tag if entries else "cifar_resnet20"], {"CIFARZOO_WEIGHTS": "weights"})


def make_logits(random, originals):
    """Mutate a file of logits."""
    data = (originals.folder / "logits.npz").read_bytes()
    return mutations.mutate_bytes(random, data) if random.random() < 0.3 else hostile.npz(random, data)


def read_logits(data, originals):
    """Read logits and compute all metrics."""
    from cifarzoo.evaluation.predictions import load_predictions

    predictions = load_predictions(in_scratch("logits.npz", data))
    for split in predictions.logits:
        predictions.describe(split)


def make_picture(random, originals):
    """Mutate a picture of a random format."""
    from PIL import Image

    kind, mode = random.choice((("PNG", "RGBA"), ("PNG", "I;16"), ("JPEG", "CMYK"), ("GIF", "P"), ("TIFF", "RGB")))
    pixels = Image.frombytes("RGB", (20, 12), random.randbytes(720))
    picture = pixels.convert("L").convert("I").convert("I;16") if mode == "I;16" else pixels.convert(mode)
    file = io.BytesIO()
    picture.save(file, kind)
    return mutations.mutate_bytes(random, file.getvalue())


def read_picture(data, originals):
    """Read a folder in which one of the pictures is the input."""
    from PIL import Image

    from cifarzoo.data import load

    os.environ["CIFARZOO_CACHE"] = "cache"
    for name in ("photos/cat/1.png", "photos/dog/0.png", "photos/dog/1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9)).save(name)
    in_scratch("photos/cat/0.png", data)
    images = load({"folder": "photos", "size": 16}).train.images
    if images.shape != (2, 16, 16, 3):
        raise Wrong(f"images {images.shape}")


def make_arrays(random, originals):
    """Mutate a file of images and labels."""
    file = io.BytesIO()
    images, labels = np.arange(4 * 9 * 9 * 3, dtype=np.uint8).reshape(4, 9, 9, 3), np.arange(4) % 2
    np.savez_compressed(
        file, x_train=images, y_train=labels, x_test=images, y_test=labels, class_names=np.array(["cat", "dog"])
    )
    data = file.getvalue()
    return mutations.mutate_bytes(random, data) if random.random() < 0.3 else hostile.npz(random, data)


def read_arrays(data, originals):
    """Read a file of arrays, and what networks need to know of them."""
    from cifarzoo.data import load

    dataset = load({"arrays": str(in_scratch("arrays.npz", data))})
    if not np.isfinite(dataset.inputs.statistics["std"]).all() or dataset.size("validation") > len(dataset.train):
        raise Wrong("statistics or splits")


def make_golden(random, originals):
    """Mutate golden logits."""
    path = random.choice(sorted((originals.folder / "weights").glob("*.golden.npz")))
    data = path.read_bytes()
    return mutations.mutate_bytes(random, data) if random.random() < 0.3 else hostile.npz(random, data)


def make_weights(random, originals):
    """Mutate a weight file."""
    data = (originals.run / "final.weights.h5").read_bytes()
    return mutations.mutate_bytes(random, data) if random.random() < 0.3 else hostile.h5(random, data, Path())


_models: dict[str, Any] = {}


def _model(name, build):
    if name not in _models:
        _models[name] = build()
    return _models[name]


def read_weights(data, originals):
    """Load a weight file into a model of its architecture."""
    from cifarzoo.pretrained.loading import load_file

    path = in_scratch("x.weights.h5", data)
    model = _model("linear", _linear)
    load_file(model, path)
    if not all(np.isfinite(array).all() for array in model.get_weights()):
        raise Wrong("weights that are not finite")
    _check_links(path)


def _linear():
    import tiny_network

    return tiny_network.linear(hidden=6)


def _check_links(path):
    """Raise Wrong if an accepted file takes arrays from other files."""
    import h5py

    with h5py.File(path) as file:

        def visit(name, node):
            if isinstance(node, h5py.Dataset) and (node.external or node.is_virtual):
                raise Wrong(f"{name} lies in another file")

        file.visititems(visit)


def make_described(random, originals):
    """Change the description or the arrays of a published file."""
    path = min((originals.folder / "weights").glob("*.weights.h5"))
    return random.choice((hostile.h5, hostile.described_h5))(random, path.read_bytes(), Path())


def read_described(data, originals):
    """Build the model that a weight file describes."""
    import cifarzoo

    path = in_scratch("described.weights.h5", data)
    model = cifarzoo.load(path)
    if not all(np.isfinite(array).all() for array in model.get_weights()):
        raise Wrong("weights that are not finite")
    _check_links(path)


def make_keras_file(random, originals):
    """Mutate a .keras file."""
    data = (originals.folder / "tiny.keras").read_bytes()
    return mutations.mutate_bytes(random, data) if random.random() < 0.2 else hostile.keras_file(random, data, Path())


def read_keras_file(data, originals):
    """Open a .keras file."""
    import cifarzoo

    cifarzoo.load(in_scratch("x.keras", data))


# ----------------------------------------------------------------------------------------------------- archives


def make_tar(random, originals):
    """Make a hostile .tar.gz, or change bytes of a good one."""
    number = random.randrange(len(small_forms()))
    members = archive_members(small_forms()[number])
    if random.random() < 0.3:
        packed = hostile.pack(members)
        if random.random() < 0.5:
            return number, mutations.mutate_bytes(random, packed)
        return number, gzip.compress(mutations.mutate_bytes(random, gzip.decompress(packed)), 1)
    return number, hostile.tar_gz(random, members)


def read_tar(numbered, originals):
    """Read a .tar.gz."""
    from cifarzoo.data import archives

    number, data = numbered
    form = small_forms()[number]
    _check_records(archives.read(form, in_scratch(form.tar, data)))


def _check_records(splits):
    for records in splits:
        if records.images.dtype != np.uint8 or any((column < 0).any() for column in records.labels.values()):
            raise Wrong("images or labels of another kind")


def make_folder(random, originals):
    """Mutate one file of an unpacked archive."""
    number = random.randrange(len(small_forms()))
    members = archive_members(small_forms()[number])
    name = random.choice(sorted(members))
    if not small_forms()[number].binary and random.random() < 0.7:
        return number, name, hostile.batch_pickle(random, 4)
    return number, name, mutations.mutate_bytes(random, members[name])


def read_folder(changed, originals):
    """Read an unpacked archive, of binary records or pickles."""
    from cifarzoo.data import archives

    number, name, data = changed
    form = small_forms()[number]
    for member, content in archive_members(form).items():
        in_scratch(f"data/{member}", data if member == name else content)
    _check_records(archives.read(form, Path("data") / form.folder))


# ----------------------------------------------------------------------------------------------------- commands

NAMES = [
    *("cifar_resnet20", "resnet20", "x" * 300, "a\0b", "\x1b]0;x\a", "[/x]", "..", "/dev/null", "fifo", "folder"),
    *("", "-", "--", "*", "[", "~", "x.weights.h5", "x.keras", "runs/tiny/seed0", "hostile_module", "\udcff", "é"),
    "x" * 5000,
]
VALUES = [*NAMES, "1", "-1", "0", "nan", "inf", "1e400", "9" * 30, "9" * 5000, "true", "[1]", "{a: 1}", "null"]
COMMANDS = {
    "list": ["--pretrained"],
    "show": [],
    "table": ["--file", "--format"],
    "log": [],
    "train": ["--only", "--set", "--dry-run", "--eval", "--quickstart"],
    "augment": ["--preview", "--dataset", "--data-dir"],
    "fill-zoo": ["--plan", "--budget", "--only", "--rows", "--weights", "--logdir", "--data-dir"],
    "prefer": ["--weights"],
    "publish": ["--weights", "--recipe", "--default", "--remark", "--data-dir"],
    "evaluate": [
        "--dataset",
        "--weights",
        "--argument",
        "--split",
        "--flip",
        "--from-logits",
        "--format",
        "--data-dir",
    ],
    "sharpness": [
        "--dataset",
        "--on",
        "--measure",
        "--loss",
        "--precision",
        "--chunk",
        "--seed",
        "--compat",
        "--argument",
    ],
    "report": ["--out", "--images", "--data-dir"],
    "unknown": ["--unknown"],
}
# Commands that need no Keras as long as their arguments are wrong.
QUICK_COMMANDS = ("list", "show", "table", "log", "prefer", "unknown")


def make_command(random, originals, names=tuple(COMMANDS)):
    """Make a command line with odd arguments that does not train for long if it is accepted."""
    name = random.choice(names)
    words = [name, *random.choices(NAMES, k=random.choice((0, 1, 1, 2)))]
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        option = random.choice([*COMMANDS[name], "--debugging", "--help"])
        words.append(option)
        if random.random() < 0.9:
            key = random.choice(("", "", "classes=", "depth=", "name=", "x=", "train_parameters.batch_size="))
            words.append(key + random.choice(VALUES))
    if name == "train":  # train nothing, whatever the other options
        words.append("--dry-run")
    return [word.replace("\0", "") if random.random() < 0.5 else word for word in words]


def make_quick_command(random, originals):
    """Make a command line for commands that need no Keras, often with an existing file or name as first argument."""
    words = make_command(random, originals, QUICK_COMMANDS)
    if random.random() < 0.5:
        existing = (originals.folder / "runs", originals.run, originals.run / "final.weights.h5", "cifar_resnet20")
        words.insert(1, str(random.choice(existing)))
    return words


class Refused(Exception):
    """A command ended with one line on stderr."""


def read_command(words, originals):
    """Run a command."""
    command(words, {"CIFARZOO_WEIGHTS": str(originals.folder / "weights"), "CIFARZOO_DATA": "data", "KERAS_HOME": "."})


def command(words, environment=()):
    """Run the command line in this process.

    Raises:
        Refused: the command was refused; the message is the printed error without its prefix.
        RuntimeError: the command line reports an unexpected exception in one line.
    """
    from cifarzoo import cli

    out, error, arguments, before = io.StringIO(), io.StringIO(), sys.argv, dict(os.environ)
    os.environ.update(environment)
    sys.argv = ["cifarzoo", *words]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            cli.main()
        status = 0
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = arguments
        os.environ.clear()
        os.environ.update(before)
    text = error.getvalue()
    if status in (0, None):
        return
    if "--debug shows where" in text:
        raise RuntimeError(text)
    if status == 2 and "Traceback" not in text:
        raise Refused("usage")
    raise Refused(text.strip().removeprefix("cifarzoo: error: ") if text.strip() else out.getvalue())


# ----------------------------------------------------------------------------------------------------- checkpoints


def make_foreign(random, originals):
    """Make a mutated or hostile checkpoint of another project, of any format."""
    return checkpoints.make_checkpoint(random)


def read_foreign(received, originals):
    """Read it; the arrays must not be larger than the file allows."""
    from cifarzoo.conversion.readers import read_checkpoint

    name, data, beside = received
    in_scratch("x.data-00000-of-00001", beside)
    path = in_scratch(name, data)
    arrays = read_checkpoint(path).arrays
    if sum(array.nbytes for array in arrays.values()) > max(2**28, 8 * (len(data) + len(beside))):
        raise Wrong("arrays larger than the file allows")
    for array in arrays.values():
        float(array.sum())  # reads every value


READERS = (
    Reader("experiments.yaml", 1200, make_experiments, read_experiments),
    Reader("--set", 400, make_override, read_override),
    Reader("policies.yaml", 250, make_policies, read_policies),
    Reader("zoo rows", 300, make_rows, read_rows),
    Reader("config.yaml", 300, make_config, read_config),
    Reader("results.json", 350, make_results, read_results),
    Reader("log.tsv", 250, make_log, read_log),
    Reader("manifest.json", 300, make_manifest, read_manifest),
    Reader("checkpoint.npz", 400, make_checkpoint, read_checkpoint),
    Reader("logits.npz", 250, make_logits, read_logits),
    Reader("golden.npz", 40, make_golden, read_logits),
    Reader("picture", 250, make_picture, read_picture, needs_run=False),
    Reader("arrays.npz", 250, make_arrays, read_arrays, needs_run=False),
    Reader("archive.tar.gz", 250, make_tar, read_tar),
    Reader("archive, unpacked", 250, make_folder, read_folder),
    Reader("checkpoints of others", 1000, make_foreign, read_foreign, needs_run=False),
    Reader("command line", 150, make_quick_command, read_command),
    Reader("commands with Keras", 50, make_command, read_command, needs_keras=True),
    Reader("x.weights.h5", 150, make_weights, read_weights, needs_keras=True),
    Reader("described.weights.h5", 40, make_described, read_described, needs_keras=True),
    Reader("x.keras", 70, make_keras_file, read_keras_file, needs_keras=True),
)
