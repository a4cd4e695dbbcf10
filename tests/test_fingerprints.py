"""Fingerprints of shipped experiments never change, or their checkpoints would no longer resume.

`tests/fingerprints.json` holds them. After adding a shipped experiment, add its fingerprint with
`python tests/test_fingerprints.py`, and check that the diff only adds lines.
"""

import json
from pathlib import Path

import pytest

from cifarzoo.experiment.files import experiment_from, read_experiments
from cifarzoo.experiment.schema import Experiment
from cifarzoo.publishing.wanted import read_rows

ROOT = Path(__file__).parent.parent
SNAPSHOT = Path(__file__).with_name("fingerprints.json")


def shipped_fingerprints() -> dict[str, dict[str, str] | list[str]]:
    """The fingerprint of every shipped experiment, by file and name."""
    recipes = set((ROOT / "recipes").glob("*.yaml")) - {ROOT / "recipes/zoo.yaml"}
    files = [ROOT / "experiments.yaml", *recipes, *(ROOT / "benchmarks").glob("*.yaml")]
    fingerprints = {
        path.relative_to(ROOT).as_posix(): {one.name: one.fingerprint() for one in read_experiments(path)}
        for path in sorted(files)
    }
    # Rows are named after their recipes: compare what they train, not what they are called.
    rows = [row.experiment for row in read_rows(ROOT / "recipes/zoo.yaml", "runs")]
    fingerprints["recipes/zoo.yaml"] = sorted(
        row.model_copy(
            update={"train_parameters": row.train_parameters.model_copy(update={"run_name": "row"})}
        ).fingerprint()
        for row in rows
    )
    entries = json.loads((ROOT / "weights/manifest.json").read_text(encoding="utf-8"))
    documents = {entry["tag"]: entry["training"].get("experiment") for entry in entries}
    fingerprints["weights/manifest.json"] = {
        tag: Experiment.model_validate(document).fingerprint() for tag, document in documents.items() if document
    }
    return fingerprints


def test_fingerprints_of_shipped_experiments_are_unchanged():
    current = shipped_fingerprints()
    for file, expected in json.loads(SNAPSHOT.read_text(encoding="utf-8")).items():
        if isinstance(expected, list):
            assert set(expected) <= set(current[file]), file
        else:
            assert {name: current[file].get(name) for name in expected} == expected, file


@pytest.mark.parametrize(
    ("brief", "spelled_out"),
    [
        ({"optimizer": "Muon"}, {"optimizer": {"name": "Muon", "momentum": 0.95, "rest": {"name": "AdamW"}}}),
        ({"optimizer": "AdamW"}, {"optimizer": {"name": "AdamW", "decay_all": False}}),
        ({"keep": [{"epochs": 1}]}, {"keep": {"at": [{"epochs": 1}], "at_most": "2 GB"}}),
        ({"early_stopping": {"patience": 9}}, {"early_stopping": {"patience": {"steps": 9}, "min_delta": 0}}),
    ],
)
def test_defaults_in_sections_are_left_out(brief, spelled_out):
    """So that a key that one of them gets later leaves the fingerprints of its runs as they are."""
    (key,) = brief

    def decisive(parameters, temperature):
        schedule = {"kind": "constant", "learning_rate": 0.1, "duration": 10}
        document = {
            "model": "cifar_resnet20",
            "train_split": "train45k",
            "val_split": "validation",
            "teacher": {"model": "resnet20", **temperature},
            "train_parameters": parameters | {"schedule": schedule},
        }
        return experiment_from([document], "file").decisive()

    one, other = decisive(brief, {}), decisive(spelled_out, {"temperature": 4.0, "views": None})
    assert one == other and one["teacher"] == {"model": "resnet20"}
    expected = {"optimizer": {"name"}, "keep": {"at"}, "early_stopping": {"patience"}}[key]
    assert set(one["train_parameters"][key]) in (expected, {*expected, "rest"})


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(shipped_fingerprints(), indent=1) + "\n", encoding="utf-8", newline="\n")
