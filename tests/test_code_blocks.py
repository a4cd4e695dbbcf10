"""The code of README.md, CONTRIBUTING.md and docs/ runs as it stands; what would take minutes is replaced.

The Python blocks of a page run one after another in one namespace, on synthetic data. Commands are parsed, not run: the
names of commands and options exist, and their values have the right types.
"""

import re
import shlex
import types

import click
import numpy as np
import pytest
from model_cases import ROOT

import cifarzoo
from cifarzoo.cli.application import command
from cifarzoo.data import Dataset
from cifarzoo.experiment.files import experiment_from
from cifarzoo.training.train import _sections

PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
# Pages whose code another test runs, on files that it makes.
ELSEWHERE = {
    "docs/datasets.md": "test_datasets_page.py",
    "docs/export.md": "test_export.py",
    "docs/foreign_weights.md": "test_foreign_weights_page.py",
    "docs/sweeps.md": "test_optuna_recipe.py",
}
# Blocks that run nowhere, by a part of their text, and why.
EXPENSIVE = {
    "CIFAR-10_human.pt": "needs PyTorch and the file of CIFAR-10N",
}
# What blocks compute in fewer steps here.
SHORTER = {"np.linspace(-1, 1, 21)": "np.linspace(-1, 1, 2)"}  # a slice compiles the model at every point


def python_blocks(page):
    """Return the Python code of a page, a text per block."""
    return re.findall(r"^```python\n(.*?)^```", TEXTS[page], re.DOTALL | re.MULTILINE)


SNIPPETS = [
    pytest.param(page, block, id=f"{page.rpartition('/')[2]}-{number}")
    for page in PAGES
    if page not in ELSEWHERE
    for number, block in enumerate(python_blocks(page))
    if not any(part in block for part in EXPENSIVE)
]
IMAGES = np.random.RandomState(0).randint(0, 256, (8, 32, 32, 3)).astype(np.uint8)
LABELS = np.arange(8) % 7


def load_data(name):
    """Return a tiny data set instead of CIFAR-10, or synthetic images."""
    assert name in ("cifar10", "synthetic")
    names = cifarzoo.data.dataset.CLASS_NAMES["cifar10"][0]
    return Dataset.from_arrays("tiny", (IMAGES, LABELS), (IMAGES, LABELS), names)


def train(model, dataset, recipe=None, logdir="runs", run_name="run", **changes):
    """Check the arguments and call the model once instead of training it."""
    if not isinstance(model, str):
        assert isinstance(dataset, Dataset) and dataset.classes == 7
        assert model(IMAGES.astype("float32")).shape == (8, 7)
    if not isinstance(changes.get("teacher", ""), str):
        assert changes.pop("teacher")["model"](IMAGES.astype("float32")).shape == (8, 10)
    name = model if isinstance(model, str) else run_name
    call = {"model": name, "dataset": "synthetic", "train_parameters": {"logdir": logdir, "run_name": run_name}}
    experiment_from([call, _sections(changes, own_model=True)], "README.md")
    return types.SimpleNamespace(results=types.SimpleNamespace(test={"error": 1.0}), folder=logdir, model=model)


def run_all(experiments, callbacks):
    """Check the arguments instead of training."""
    assert [type(one) for one in experiments] == [cifarzoo.Experiment] and len(callbacks) == 1
    return []


def small_network(classes):
    """Return a small network for a name that a page does not define."""
    import keras

    layers = [keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3, strides=4)]
    return keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(classes)])


@pytest.fixture(scope="module")
def namespaces():
    """What one block leaves for the next, by page."""
    arrays = {"images": IMAGES, "labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}
    return {page: {"cifarzoo": cifarzoo, "np": np, "step": 0, **arrays} for page in PAGES}


def prepare(block, names, folder):
    """Write the files that a block opens, and define the networks that its text speaks of."""
    weights = folder / "logs" / "resnet20_v1" / "seed0" / "final.weights.h5"
    if str(weights.relative_to(folder)) in block:
        weights.parent.mkdir(parents=True)
        cifarzoo.save_weights(cifarzoo.cifar_resnet20(), weights)
    if "shake_shake.keras" in block:
        cifarzoo.cifar_shake_shake(depth=8, width=16).save(folder / "shake_shake.keras")
    if "gate_decisions" in block:
        names["model"] = cifarzoo.cifar_skipnet38()
    if "my_model" in block:
        names["my_model"] = small_network(10)
    if "loss_slice" in block:
        names["model"] = small_network(7)
    if "range_of_batch" in block:
        names["range_of_batch"] = np.arange(8, dtype="int32")
    (folder / "experiments.yaml").write_bytes((ROOT / "experiments.yaml").read_bytes())


@pytest.mark.parametrize("page, block", SNIPPETS)
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # Keras' own, for tf2onnx
def test_snippet(page, block, namespaces, tmp_path, monkeypatch):
    import keras

    if "onnx" in block:
        pytest.importorskip("tf2onnx")
    prepare(block, namespaces[page], tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, replacement in (("load_data", load_data), ("train", train), ("run_all", run_all)):
        monkeypatch.setattr(cifarzoo, name, replacement, raising=False)
    monkeypatch.setattr(keras.Model, "fit", lambda model, images, labels: model.test_on_batch(images, labels))
    for long, short in SHORTER.items():
        block = block.replace(long, short)
    exec(compile(block, page, "exec"), namespaces[page])


def test_there_are_snippets():
    assert len(SNIPPETS) >= 12 and len({parameters.values[0] for parameters in SNIPPETS}) >= 8


def test_every_page_with_code_is_run():
    for page, test in ELSEWHERE.items():
        assert page.rpartition("/")[2] in (ROOT / "tests" / test).read_text(encoding="utf-8"), page
    everything = "".join(block for page in PAGES for block in python_blocks(page))
    assert all(part in everything for part in EXPENSIVE)


# ------------------------------------------------------------------------------------------------ commands


def commands(text):
    """Yield the command lines of a page: those of its blocks, on one line each."""
    fenced = re.findall(r"^ *```(?:bash|console)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    indented = re.findall(
        r"(?:^    .*\n)+", re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    for block in [*fenced, *indented]:
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            line = re.sub(r"^srun (--\S+ )*", "", line.strip().removeprefix("$ "))
            if not line.startswith(("cifarzoo ", "python run_experiments.py")):
                continue
            words = shlex.split(line, comments=True)
            ends = [words.index(sign) for sign in ("&&", "&", ">", "|") if sign in words]
            words = words[: min(ends, default=None)]
            run = ["train", *(words[2:] or ["experiments.yaml"])]
            yield line, words[1:] if words[0] == "cifarzoo" else run


COMMANDS = [pytest.param(page, id=page.rpartition("/")[2]) for page in PAGES if list(commands(TEXTS[page]))]


@pytest.mark.parametrize("page", COMMANDS)
def test_commands_exist_with_their_options(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    group = command()
    for line, words in commands(TEXTS[page]):
        try:
            with group.make_context("cifarzoo", list(words)) as context:
                _, chosen, rest = group.resolve_command(context, [*context._protected_args, *context.args])
                chosen.make_context(chosen.name, rest, parent=context).close()
        except click.exceptions.Exit:
            pass
        except Exception as failure:
            text = failure.format_message() if hasattr(failure, "format_message") else repr(failure)
            pytest.fail(f"{page}: {line}: {text}")


def test_there_are_commands():
    assert sum(len(list(commands(text))) for text in TEXTS.values()) > 60


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 150
