"""The tutorial in docs/datasets.md runs as it stands, on a few synthetic pictures."""

import re
import shlex
import shutil
import sys

import pytest
from model_cases import ROOT
from picture_folders import CLASSES, fill

from cifarzoo.cli import main
from cifarzoo.experiment.files import experiment_from
from cifarzoo.strict_yaml import parse_all

PAGE = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
SHORTER = ["--set", "train_parameters.schedule.duration={epochs: 4}", "--set", "skip_error_test=true"]
YAML, BASH, PYTHON = (re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL) for kind in ("yaml", "bash", "python"))


def test_the_tutorial(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CIFARZOO_CACHE", str(tmp_path / "cache"))
    fill(tmp_path / "photos", 15, height=50, width=70, suffix=".jpg")
    shutil.copy(next((tmp_path / "photos").rglob("*.jpg")), tmp_path / "new.jpg")
    (tmp_path / "photos.yaml").write_text(YAML[0], encoding="utf-8")
    for line in BASH[0].splitlines():
        shorter = SHORTER if " train " in line else []
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True) + shorter)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0, capsys.readouterr().err
    assert "report.html" in capsys.readouterr().out and (tmp_path / "preview.png").is_file()
    assert (tmp_path / "photos.tflite").is_file()
    for snippet in PYTHON:
        exec(compile(snippet, "docs/datasets.md", "exec"), namespace := {})
    assert len(namespace["files"]) == 36
    assert capsys.readouterr().out.strip() in CLASSES


def test_the_examples_are_valid():
    lines = [line for line in YAML[1].splitlines() if line]
    names = [
        experiment_from([{"model": "cifar_resnet20"} | parse_all(line, "x")[0]], "x").dataset_name for line in lines
    ]
    assert names[:4] == ["photos", "CINIC-10", "tiny-imagenet-200", "fashion_mnist"] and len(names) == 6
