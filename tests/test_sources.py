"""What lies outside of an experiment's document is part of a run: its module's source, the weights it starts from."""

import json
import logging

import keras
import numpy as np
import pytest
from test_damaged_files import META

import cifarzoo
from cifarzoo.errors import CheckpointError
from cifarzoo.experiment.schema import Experiment
from cifarzoo.pretrained.description import Description
from cifarzoo.runs import checkpoint
from cifarzoo.runs.folder import RunFolder
from cifarzoo.training.preflight import check_key
from cifarzoo.training.runner import run_all
from cifarzoo.training.sources import check_sources, initial_weights, sources_of

NET = """import keras
from own_parts import WIDTH  # another file of the same folder
def net(classes):
    return keras.Sequential([keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(),
                             keras.layers.Dense(WIDTH), keras.layers.Dense(classes)])
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "own_net.py").write_text(NET, encoding="utf-8")
    (tmp_path / "own_parts.py").write_text("WIDTH = 4\n", encoding="utf-8")
    (tmp_path / "unused.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def experiment(folder, **changes):
    parameters = {
        "logdir": str(folder / "runs"),
        "schedule": {"kind": "constant", "learning_rate": 1e-6, "duration": 2},
        "train_metrics": False,
    }
    document = {"model": "net", "module": "own_net", "dataset": "synthetic", "skip_error_test": True}
    return Experiment.model_validate(document | {"train_parameters": parameters | changes})


def test_sources_are_the_module_and_what_it_imports_from_its_folder(project):
    one = experiment(project)
    before = sources_of(one, 0)
    assert set(before) == {"own_net.py", "own_parts.py"}
    (project / "own_parts.py").write_text("# a comment\nWIDTH =   4\r\n", encoding="utf-8")
    after = sources_of(one, 0)
    assert after["own_net.py"] == before["own_net.py"]
    assert (
        after["own_parts.py"][0] != before["own_parts.py"][0] and after["own_parts.py"][1] == before["own_parts.py"][1]
    )
    assert sources_of(Experiment(model="MobileNetV2", module="keras.applications"), 0) == {}
    assert sources_of(Experiment(model="cifar_resnet20"), 0) == {}
    assert sources_of(Experiment(model="net", module="no_such_module"), 0) == {}


@pytest.mark.parametrize("init", ["", "from . import other, blocks\n", None])
def test_sources_of_folders_with_and_without_init(tmp_path, monkeypatch, init):
    """Without `__init__.py`, a folder of the same name may come earlier on the path."""
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    if init is None:
        (tmp_path / "first" / "own_nets").mkdir(parents=True)
        monkeypatch.syspath_prepend(str(tmp_path / "first"))
    files = {
        "own_nets/mine.py": "from own_nets.blocks import a\nfrom .stages import late, VALUE\nimport own_nets.plain\n",
        "own_nets/blocks/a.py": "def f():\n    from ... import beyond\n    from ..tools import *\n",
        "own_nets/stages/late.py": "import own_side, keras, json\n",
        "own_nets/tools/one.py": "",
        "own_nets/plain.py": "",
        "own_side.py": "",
        "own_nets/other.py": "",
    }
    if init is not None:
        files["own_nets/__init__.py"] = init
    for name, text in files.items():
        path = tmp_path / "here" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    one = Experiment(model="net", module="own_nets.mine")
    hashed = sources_of(one, 0)
    assert set(hashed) == set(files) - (set() if init else {"own_nets/other.py"})
    (tmp_path / "here" / "own_nets" / "mine.py").write_text("import own_side\n", encoding="utf-8")
    assert sources_of(one, 0)["own_nets/mine.py"] != hashed["own_nets/mine.py"]
    (tmp_path / "here" / "own_side.py").write_text("1 +", encoding="utf-8")
    assert sources_of(one, 0) == {}  # building the model says so


def test_weights_in_the_home_folder_are_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "w3.weights.h5").write_bytes(b"1")
    one = Experiment(model="cifar_resnet20", init_weights="~/w{seed}.weights.h5")
    assert initial_weights(one, 3) == tmp_path / "w3.weights.h5" and set(sources_of(one, 3)) == {"init_weights"}
    tag = Experiment(model="cifar_resnet20", init_weights="resnet20_v1_cifar10_short_s{seed}")
    assert initial_weights(tag, 3) == "resnet20_v1_cifar10_short_s3" and sources_of(tag, 3) == {}
    assert initial_weights(Experiment(model="cifar_resnet20"), 3) is None


def test_weights_to_start_from_are_sources(project):
    path = project / "start3.weights.h5"
    path.write_bytes(b"1")
    one = Experiment(model="cifar_resnet20", init_weights=str(project / "start{seed}.weights.h5"))
    first = sources_of(one, 3)
    path.write_bytes(b"2")
    assert set(first) == {"init_weights"} and sources_of(one, 3) != first
    assert sources_of(one, 4) == {}  # not trained yet


def test_an_edited_module_is_refused_and_a_finished_run_is_said_to_be_one(project, capsys):
    one = experiment(project)
    (first,) = run_all([one])
    assert set(first.results.sources) == {"own_net.py", "own_parts.py"}
    capsys.readouterr()
    (project / "own_parts.py").write_text("WIDTH = 4  # as before\n", encoding="utf-8")
    (again,) = run_all([one])
    assert again.results == first.results
    assert "net, seed 0: already finished, not trained again" in capsys.readouterr().err
    (project / "own_parts.py").write_text("WIDTH = 5\n", encoding="utf-8")
    (changed,) = run_all([one])
    assert "own_parts.py changed since this run began" in changed.error
    (project / "runs" / "net" / "seed0" / "results.json").unlink()  # as if it had not finished
    (changed,) = run_all([one])
    assert "own_parts.py changed since this run began; set another run_name" in changed.error


def test_runs_of_earlier_versions_have_no_sources(tmp_path):
    folder = RunFolder(tmp_path)
    checkpoint.save(folder.checkpoint_path, {}, META | {"step": 1, "fingerprint": ""})
    assert check_sources(folder, {"own_net.py": ["1", "2"]}) == []
    checkpoint.save(
        folder.checkpoint_path, {}, META | {"step": 1, "fingerprint": "", "sources": {"own_net.py": ["3", "2"]}}
    )
    assert check_sources(folder, {"own_net.py": ["1", "2"]}) == []
    with pytest.raises(CheckpointError, match="own_net.py changed"):
        check_sources(folder, {"own_net.py": ["1", "1"]})


def test_other_initial_weights_of_an_own_model_are_announced(tmp_path, capsys):
    images, labels = np.zeros((8, 32, 32, 3), "uint8"), np.arange(8) % 3
    dataset = cifarzoo.Dataset.from_arrays("threes", (images, labels), (images, labels))
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3, use_bias=True)]
    )
    weights = model.get_weights()
    schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 2}
    for start, announced in ((weights, False), (weights, False), ([w + 1 for w in weights], True)):
        model.set_weights(start)
        run = cifarzoo.train(
            model, dataset, logdir=tmp_path, run_name="r", schedule=schedule, batch_size=4, check=False, callbacks=[]
        )
        lines = capsys.readouterr().err
        assert ("began with other weights than the model has now" in lines) == announced
    assert "already finished, not trained again" in lines
    assert json.loads(run.folder.results_path.read_text())["sources"] == run.results.sources


def test_experiments_that_differ_in_numbers_are_checked_once(tmp_path):
    one = check_key(experiment(tmp_path, weight_decay=1e-4, run_name="a"))
    assert one == check_key(experiment(tmp_path, weight_decay=1e-3, run_name="b"))
    for change in ({"weight_decay": 0}, {"batch_size": 4}, {"nesterov": True}, {"ema_decay": 0.9}):
        assert one != check_key(experiment(tmp_path, **change))


def test_a_fresh_classifier_is_announced_once_for_the_check_and_all_seeds(project, caplog):
    net = NET.replace("Dense(WIDTH", "Dense(WIDTH, name='hidden'").replace(
        "Dense(classes", "Dense(classes, name='classes'"
    )
    trained = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(4, name="hidden"),
            keras.layers.Dense(7, name="classes"),
        ]
    )
    start = project / "seven.weights.h5"
    cifarzoo.save_weights(trained, start, Description(module="named_net", function="net", classes=7))
    (project / "named_net.py").write_text(net, encoding="utf-8")
    for name in ("first", "second"):
        one = experiment(project, run_name=name)
        one = one.model_copy(
            update={"module": "named_net", "seeds": [0, 1], "skip_error_test": False, "init_weights": str(start)}
        )
        caplog.clear()
        with caplog.at_level(logging.WARNING, "cifarzoo"):
            outcomes = run_all([one])
        assert [outcome.error for outcome in outcomes] == [None, None]
        assert caplog.text.count("fresh classifier for 10 classes") == 1
