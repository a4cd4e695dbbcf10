"""Experiments files: what they accept, what they refuse, and the error messages."""

import contextlib
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import yaml

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.files import experiment_from, quickstart_experiment, read_experiments
from cifarzoo.experiment.merging import merge
from cifarzoo.experiment.plan import Plan, stream_indices
from cifarzoo.experiment.shipped import summary
from cifarzoo.training.build import build_model, build_optimizer, model_factory
from cifarzoo.training.checks import check_model

SEED_EXAMPLES = """
module: 'Models.Resnets'      # .py file with models (required)
model: 'cifar_resnet110'      # function that creates model (required)
model_parameters:
    shortcut_mode: 'A'        # A or B as in Deep Residual Learning for Image Recognition
    block_type: 'original'    # original for Resnet v1, preactivated for Resnet v2
train_parameters:
    logdir: 'logs'            # folder for tensorboard (required)
    run_name: 'resnet110_v1'  # name of the run in tensorboard (required)
    log_interval: 400         # how often statistics are printed and saved to tensorboard
    val_interval: 4000        # how often validation on the test set is done
skip_error_test: False        # whether to skip a quick run before beginning the actual training
---
module: 'Models.Resnets'
model: 'WRN_40_4'
model_parameters: {}
train_parameters:
    logdir: 'logs'
    run_name: 'WRN_40_4'
    log_interval: 400
    val_interval: 4000
    lr_values: [0.1, 0.02, 0.004, 0.0008]
    lr_boundaries: [24000, 48000, 64000, 80000]
    nesterov: True
"""


@pytest.fixture
def read(tmp_path):
    def read(text, *overrides):
        path = tmp_path / "batch.yaml"
        path.write_text(text)
        return read_experiments(path, list(overrides))

    return read


def test_the_examples_of_cifar_vs_tensorflow2_are_read_unchanged(read):
    resnet, wide = read(SEED_EXAMPLES)
    assert resnet.name == "resnet110_v1"
    model = build_model(resnet, 10, seed=0)
    assert model.count_params() == 1_736_058  # ResNet-110 v1, shortcut A
    rates = wide.train_parameters.resolved_schedule().rates(np.array([0, 24000, 79999]), wide.lengths(50_000))
    assert rates.tolist() == [0.1, 0.02, 0.0008]
    assert build_optimizer(wide).nesterov and not build_optimizer(resnet).nesterov
    assert model_factory(wide).__name__ == "cifar_wrn_40_4"


def test_defaults_are_those_of_cifar_vs_tensorflow2(read):
    (experiment,) = read("model: cifar_resnet20")
    lengths = experiment.lengths(50_000)
    parameters = experiment.train_parameters
    assert parameters.resolved_schedule().total(lengths) == 64_000
    assert (lengths(parameters.log_interval), lengths(parameters.val_interval)) == (200, 2000)
    optimizer = build_optimizer(experiment)
    assert (parameters.batch_size, optimizer.momentum, optimizer.weight_decay) == (128, 0.9, 1e-4)


def test_the_shipped_files_are_valid():
    root = Path(__file__).parent.parent
    assert len(read_experiments(root / "experiments.yaml")) == 3
    for recipe in sorted(set((root / "recipes").glob("*.yaml")) - {root / "recipes" / "zoo.yaml"}):
        assert read_experiments(recipe)


def test_resolved_describes_the_same_experiment(read, tmp_path):
    (experiment,) = read("model: cifar_resnet20\ntrain_parameters: {lr_values: [0.1], lr_boundaries: [7]}")
    (again,) = read(yaml.safe_dump(experiment.resolved()))
    assert again.fingerprint() == experiment.fingerprint()
    assert again.train_parameters.resolved_schedule().total(again.lengths(50_000)) == 7


def test_fingerprint_changes_only_with_settings_that_affect_results(read):
    (base,) = read("model: cifar_resnet20")
    (moved,) = read("model: cifar_resnet20\ndescription: x\ntrain_parameters: {logdir: elsewhere}")
    (other,) = read("model: cifar_resnet20\ntrain_parameters: {batch_size: 64}")
    assert base.fingerprint() == moved.fingerprint() != other.fingerprint()
    (deeper,) = read("model: cifar_resnet32")
    (spelled_out,) = read("model: cifar_resnet20\naugmentation: standard\ntrain_parameters: {bias_lr_factor: 1.0}")
    assert base.fingerprint() == spelled_out.fingerprint() != deeper.fingerprint()


def test_overrides_reach_every_document(read):
    experiments = read(
        "model: cifar_resnet20\n---\nmodel: cifar_resnet32", "train_parameters.batch_size=64", "dataset=synthetic"
    )
    assert [(e.train_parameters.batch_size, e.dataset) for e in experiments] == [(64, "synthetic")] * 2


def test_a_document_overrides_its_recipe(read, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "base.yaml").write_text(
        "model: cifar_resnet20\ntrain_parameters: {momentum: 0.5, batch_size: 7}"
    )
    (experiment,) = read("recipe: base\ntrain_parameters: {batch_size: 9}")
    assert (experiment.model, experiment.train_parameters.momentum, experiment.train_parameters.batch_size) == (
        "cifar_resnet20", 0.5, 9
    )  # fmt: skip


def test_durations_and_schedules_of_another_kind_replace_those_of_the_recipe(read, tmp_path):
    cosine = "{kind: cosine, peak: 3, duration: {epochs: 9}}"
    (tmp_path / "base.yaml").write_text(
        f"model: a\ntrain_parameters: {{val_interval: {{epochs: 2}}, schedule: {cosine}}}"
    )
    stepped = "{kind: stepped, values: [1e-1], boundaries: [7]}"
    (one,) = read(f"recipe: base.yaml\ntrain_parameters: {{val_interval: {{steps: 5}}, schedule: {stepped}}}")
    assert one.train_parameters.val_interval.model_dump(exclude_none=True) == {"steps": 5}
    assert one.train_parameters.resolved_schedule().values == [0.1]
    (one,) = read("recipe: base.yaml\ntrain_parameters: {schedule: {peak: 2}}")
    assert (one.train_parameters.schedule.kind, one.train_parameters.schedule.peak) == ("cosine", 2)
    (tmp_path / "base.yaml").write_text("model: a\n---\nmodel: b")
    with pytest.raises(ExperimentError, match="base.yaml: expected one YAML document, got 2"):
        read("recipe: base.yaml")


def test_numbers_without_a_point_are_numbers(read):
    """In YAML 1.1, 1e-4 is a word, which would become part of a run's name."""
    experiments = read("model: a\ngrid: {train_parameters.weight_decay: [1e-4, 5E-4, 2e3]}")
    assert [e.train_parameters.weight_decay for e in experiments] == [1e-4, 5e-4, 2000]
    assert experiments[0].name == "a-weight_decay_0.0001"
    assert read("model: a\ntrain_parameters: {run_name: 1e-x}")[0].name == "1e-x"


def test_the_quickstarts_policy_file_becomes_part_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text("- [[Invert, 0.1, 0.7], [Contrast, 0.2, 0.6]]")
    one = quickstart_experiment(["augmentation=[{policies: {file: p.yaml}}]"])
    assert written(one) == [{"policies": {"policies": [[["Invert", 0.1, 0.7], ["Contrast", 0.2, 0.6]]]}}]


def test_lookahead_must_average_within_the_training(read):
    for lookahead, message in (
        ("{interval: 500}", "starts after 0 steps and averages every 500, which the 400 training steps do not"),
        ("{start: 396}", "starts after 396 steps and averages every 5"),
    ):
        schedule = "schedule: {kind: constant, learning_rate: 1, duration: 400}"
        (one,) = read(f"model: a\ntrain_parameters: {{lookahead: {lookahead}, {schedule}}}")
        with pytest.raises(ExperimentError, match=f"train_parameters.lookahead: {message}"):
            Plan(one, 50_000)


def test_the_weights_of_an_earlier_stage_are_found_by_folder_and_seed(tmp_path):
    import keras

    from cifarzoo.experiment.schema import Experiment

    settings = {
        "module": "tiny_models",
        "model": "tiny_linear",
        "init_weights": "{logdir}/first/seed{seed}/w.weights.h5",
    }
    two = Experiment.model_validate(settings | {"train_parameters": {"logdir": str(tmp_path)}})
    (tmp_path / "first/seed3").mkdir(parents=True)
    keras.utils.set_random_seed(9)
    first = build_model(two.model_copy(update={"init_weights": None}), 10, 9)
    first.save_weights(tmp_path / "first/seed3/w.weights.h5")
    np.testing.assert_array_equal(build_model(two, 10, 3).get_weights()[0], first.get_weights()[0])


def test_gates_are_learned_under_the_cross_entropy_only():
    from cifarzoo.experiment.schema import Experiment

    settings = {"module": "tiny_models", "model": "tiny_skipnet", "train_parameters": {"loss": "squared"}}
    for stage in ("supervised", "reinforce"):
        one = Experiment.model_validate(settings | {"model_parameters": {"stage": stage}})
        expected = pytest.raises(ExperimentError, match="loss: tiny_skipnet learns its gates under cross_entropy only")
        with expected if stage == "reinforce" else contextlib.nullcontext():
            check_model(one, build_model(one, 10, 0), 128)


def test_a_recipes_policy_file_is_searched_in_the_recipes_folder(read, tmp_path):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "list.yaml").write_text("- [[Invert, 0.1, 0.7], [Contrast, 0.2, 0.6]]")
    (tmp_path / "recipes" / "base.yaml").write_text("model: a\naugmentation: [{policies: {file: list.yaml}}]")
    (experiment,) = read("recipe: base")
    assert written(experiment) == [{"policies": {"policies": [[["Invert", 0.1, 0.7], ["Contrast", 0.2, 0.6]]]}}]


def written(experiment):
    """Return the augmentation as in the configuration of a run."""
    return experiment.resolved()["augmentation"]


def test_a_teacher_by_name_has_the_default_settings(read):
    for text in ("resnet9", "[resnet9, runs/a/seed0]"):
        short, long = (read(f"model: a\nteacher: {teacher}")[0] for teacher in (text, f"{{model: {text}}}"))
        assert short.teacher == long.teacher and short.fingerprint() == long.fingerprint()


@pytest.mark.parametrize(
    "text",
    [
        "model_parameters: {widths: {64: 2}}",
        "callbacks: [{name: CSVLogger, widths: [{64: 2}]}]",
        "augmentation: [{keras: RandomCrop, widths: {64: 2}}]",
        "augmentation: [{module: mine, name: shift, widths: {64: 2}}]",
    ],
)
def test_arguments_keep_their_keys_in_the_run_configuration(read, text):
    """JSON has text as keys only: 64 would be '64' once the run's config.yaml is read."""
    with pytest.raises(ExperimentError, match="64: expected a key that is text; write '64' in quotes"):
        read(f"model: a\n{text}")
    quoted = text.replace("64", "'64'")
    (one,) = read(f"model: a\n{quoted}")
    (again,) = read(yaml.safe_dump(one.resolved()))
    assert again.fingerprint() == one.fingerprint()


SHORT_FORMS = [
    ("{optimizer: AdamW}", "{optimizer: {weight_decay: 0.1}}", {"name": "AdamW", "weight_decay": 0.1}),
    ("{optimizer: {name: AdamW, weight_decay: 0.1}}", "{optimizer: AdamW}", {"name": "AdamW", "weight_decay": 0.1}),
    ("{optimizer: {name: AdamW, weight_decay: 0.1}}", "{optimizer: Lion}", {"name": "Lion"}),
    (
        "{optimizer: {name: Muon, rest: Lion}}",
        "{optimizer: {rest: {beta_1: 0.8}}}",
        {"name": "Muon", "rest": {"name": "Lion", "beta_1": 0.8}},
    ),
    (
        "{optimizer: {name: Muon, rest: {name: Lion, beta_1: 0.8}}}",
        "{optimizer: {rest: Lion}}",
        {"name": "Muon", "rest": {"name": "Lion", "beta_1": 0.8}},
    ),
]
COSINE = "{kind: cosine, duration: 9}"


@pytest.mark.parametrize(("below", "above", "expected"), SHORT_FORMS)
def test_a_bare_name_of_an_optimizer_merges_as_its_mapping(read, tmp_path, below, above, expected):
    (tmp_path / "base.yaml").write_text(f"model: a\ntrain_parameters: {below}")
    (one,) = read(f"recipe: base\ntrain_parameters: {above}", f"train_parameters.schedule={COSINE}")
    assert one.train_parameters.optimizer.model_dump(exclude_unset=True) == expected


def test_keys_of_a_bare_name_are_set_by_grids_and_overrides(read):
    text = f"model: a\nteacher: t\ntrain_parameters: {{optimizer: AdamW, schedule: {COSINE}}}"
    experiments = read(f"{text}\ngrid: {{train_parameters.optimizer.weight_decay: [0.01, 0.1]}}")
    assert [one.train_parameters.optimizer.arguments for one in experiments] == [
        {"weight_decay": 0.01},
        {"weight_decay": 0.1},
    ]
    experiments = read(f"{text}\ngrid: {{teacher.temperature: [1, 2]}}")
    assert [(one.teacher.model, one.teacher.temperature) for one in experiments] == [("t", 1), ("t", 2)]
    (one,) = read(text, "teacher.temperature=2", "train_parameters.optimizer.weight_decay=0.1")
    assert (one.teacher.model, one.teacher.temperature) == ("t", 2)
    assert one.train_parameters.optimizer.arguments == {"weight_decay": 0.1}
    experiments = read(f"{text}\ngrid: {{teacher: {{one: u, two: [u, v]}}}}", "teacher.weight=0.5")
    assert [(one.teacher.model, one.teacher.weight) for one in experiments] == [("u", 0.5), (["u", "v"], 0.5)]


def test_arguments_of_a_model_are_no_short_forms(read, tmp_path):
    (tmp_path / "base.yaml").write_text("model: a\nmodule: b\nmodel_parameters: {rest: c, teacher: {d: 1}}")
    (one,) = read("recipe: base\nmodel_parameters: {optimizer: SGD, teacher: e}", "model_parameters.rest=f")
    assert one.model_parameters == {"rest": "f", "teacher": "e", "optimizer": "SGD"}


def test_numpys_scalars_are_numbers():
    plain = {"depth": 28, "rates": [0.5, True], "inner": {"name": "x", "none": None}}
    scalars = {
        "depth": np.int64(28),
        "rates": (np.float32(0.5), np.bool_(True)),
        "inner": MappingProxyType(plain["inner"]),
    }
    ours, theirs = (experiment_from([{"model": "a", "model_parameters": one}], "") for one in (plain, scalars))
    assert theirs.resolved() == ours.resolved() and theirs.fingerprint() == ours.fingerprint()
    assert yaml.safe_load(yaml.safe_dump(theirs.resolved()))["model_parameters"] == plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"act": len}, "act: expected null, a boolean, number, text, list or mapping, got <built-in function len>"),
        ({"act": str}, "act: expected null, a boolean, number, text, list or mapping, got <class 'str'>"),
        (
            {"widths": np.arange(2)},
            "widths: expected null, a boolean, number, text, list or mapping, got array([0, 1])",
        ),
        ({"seed": 2**63}, "seed: must be less than 2^63, got 9223372036854775808"),
        ({"a": {"b": [{"c": 1j}]}}, "a: b.c: expected null, a boolean, number, text, list or mapping, got 1j"),
    ],
)
def test_arguments_that_a_run_could_not_store_are_refused(arguments, message):
    with pytest.raises(ExperimentError) as caught:
        experiment_from([{"model": "a", "model_parameters": arguments}], "call")
    assert str(caught.value) == f"call: model_parameters.{message}"


def test_a_logdir_may_be_in_the_home_folder(read, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (one,) = read("model: a\ntrain_parameters: {logdir: ~/runs}")
    assert Path(one.train_parameters.logdir) == tmp_path / "runs"
    assert one.fingerprint() == read("model: a")[0].fingerprint()


def test_only_train_parameters_have_the_keys_of_sgd():
    below = {"model_parameters": {"momentum": 0.1}, "train_parameters": {"momentum": 0.8, "batch_size": 64}}
    above = {"model_parameters": {"optimizer": "ideal"}, "train_parameters": {"optimizer": "AdamW"}}
    assert merge(below, above) == {
        "model_parameters": {"momentum": 0.1, "optimizer": "ideal"},
        "train_parameters": {"batch_size": 64, "optimizer": {"name": "AdamW"}},
    }


def test_images_of_another_source_replace_those_below():
    below = {"dataset": {"folder": "a", "size": 64}}
    assert merge(below, {"dataset": {"arrays": "x.npz"}}) == {"dataset": {"arrays": "x.npz"}}
    assert merge(below, {"dataset": {"size": 32}}) == {"dataset": {"folder": "a", "size": 32}}
    assert merge(below, {"dataset": {"folder": "b"}}) == {"dataset": {"folder": "b", "size": 64}}


def test_an_augmentation_is_written_as_it_was_read(read):
    """Neither defaults nor conversions reach the configuration, so that fingerprints stay the same."""
    text = "[crop, {crop: null}, {randaugment: {magnitude: 5}}, {cutout: {size: 8.0, fill: [0, 0, 0]}}]"
    (experiment,) = read(f"model: a\naugmentation: {text}")
    assert written(experiment) == yaml.safe_load(text)
    assert experiment.augmentation[3].size == 8 and experiment.augmentation[3].fill == (0, 0, 0)
    (again,) = read(yaml.safe_dump(experiment.resolved()))
    assert again.fingerprint() == experiment.fingerprint()


GRID = """
model: cifar_wrn_40_2
seeds: [0, 1]
train_parameters: {schedule: {kind: cosine, duration: {epochs: 3}}}
grid:
  train_parameters.weight_decay: [1.0e-4, 0.002]
  dataset: [cifar10, cifar100]
  model_parameters: {plain: {}, dropped: {dropout: 0.3}}
"""


def test_a_grid_is_all_combinations_under_derived_names(read):
    experiments = read(GRID)
    assert [e.name for e in experiments] == [
        f"cifar_wrn_40_2-weight_decay_{decay}-{data}-{dropout}"
        for decay in ("0.0001", "0.002")
        for data in ("cifar10", "cifar100")
        for dropout in ("plain", "dropped")
    ]
    last = experiments[-1]
    assert (last.train_parameters.weight_decay, last.dataset, last.model_parameters, last.seeds) == (
        0.002, "cifar100", {"dropout": 0.3}, [0, 1]
    )  # fmt: skip
    assert len({e.fingerprint() for e in experiments}) == 8
    assert last.train_parameters.resolved_schedule().total(last.lengths(50_000)) == 1172


def test_names_of_a_grid_start_with_the_run_name_or_the_model(read):
    named = read("model: a\ntrain_parameters: {run_name: b}\ngrid: {xla: [true], model_parameters.depth: [10, 16]}")
    assert [e.name for e in named] == ["b-xla_true-depth_10", "b-xla_true-depth_16"]
    over_models = read("grid: {model: {r20: cifar_resnet20, r32: cifar_resnet32}}")
    assert [(e.name, e.model) for e in over_models] == [("r20", "cifar_resnet20"), ("r32", "cifar_resnet32")]


def test_variants_are_laid_over_the_whole_document(read):
    experiments = read(
        "model_parameters: {dropout: 0.3}\n"
        "grid: {variant: {a: {model: m, seeds: [3]}, b: {model: n, model_parameters: {x: 1}}}, xla: [false]}"
    )
    assert [(e.name, e.model, e.model_parameters, e.seeds) for e in experiments] == [
        ("a-xla_false", "m", {"dropout": 0.3}, [3]),
        ("b-xla_false", "n", {"dropout": 0.3, "x": 1}, [0]),
    ]


def test_overrides_of_a_grid(read):
    (one,) = read("model: a\ngrid: {train_parameters.momentum: [0.1, 0.2]}", "grid.train_parameters.momentum=[0.3]")
    assert (one.name, one.train_parameters.momentum) == ("a-momentum_0.3", 0.3)
    variants = "model: a\ngrid: {variant: {x: {train_parameters: {weight_decay: 1}}, y: {seeds: [3]}}}"
    for text, override, path, over in (
        (GRID, "dataset=synthetic", "dataset", "dataset"),
        (GRID, "model_parameters={}", "model_parameters", "model_parameters"),
        (variants, "train_parameters.weight_decay=2", "train_parameters.weight_decay", "variant"),
        (variants, "train_parameters={}", "train_parameters.weight_decay", "variant"),
        (variants, "seeds=[1]", "seeds", "variant"),
        (
            "model: a\ngrid: {train_parameters.optimizer: [AdamW, Lion]}",
            "train_parameters.optimizer.weight_decay=0.1",
            "train_parameters.optimizer",
            "train_parameters.optimizer",
        ),
        (
            "model: a\ngrid: {variant: {x: {labels: {asymmetric: 0.4, pairs: {3: 5}}}}}",
            "labels.pairs={cat: dog}",
            "labels.pairs.3",
            "variant",
        ),
    ):
        message = (
            f"--set {override}: the grid of .*, document 1 sets {path} through {over}, so this would have no effect"
        )
        with pytest.raises(ExperimentError, match=message.replace("[", r"\[")):
            read(text, override)
    variants = "model: a\ngrid: {variant: {x: {seeds: [3]}, y: {}}}"
    assert [e.train_parameters.momentum for e in read(variants, "train_parameters.momentum=0.5")] == [0.5, 0.5]


def test_a_policy_file_becomes_part_of_the_experiment(read, tmp_path):
    path = tmp_path / "lists" / "mine.yaml"
    path.parent.mkdir()
    text = "model: a\naugmentation: [crop, {policies: {file: lists/mine.yaml, fill: mean}}]"
    path.write_text("- [[Invert, 0.1, 0.7], [Contrast, 0.2, 0.6]]")
    (first,) = read(text)
    assert written(first)[1]["policies"] == {
        "fill": "mean", "policies": [[["Invert", 0.1, 0.7], ["Contrast", 0.2, 0.6]]]
    }  # fmt: skip
    path.write_text("- [[Invert, 0.2, 0.7], [Contrast, 0.2, 0.6]]")
    assert read(text)[0].fingerprint() != first.fingerprint()
    path.write_text("- [[Invert, 0.1, 0.7], [Contrast, 1.5, 0.6]]")
    with pytest.raises(ExperimentError) as caught:
        read(text)
    assert str(caught.value) == (
        f"{tmp_path / 'batch.yaml'}, document 1: augmentation[1].policies: {path}[0][1]: "
        "the probability of Contrast must be between 0 and 1, got 1.5"
    )


def test_rates_grow_with_the_batch(read):
    (experiment,) = read(
        "model: a\ntrain_parameters: {batch_size: 512, lr_reference_batch: 128, "
        "schedule: {kind: stepped, values: [0.1, 0.01], boundaries: [10, 20]}}"
    )
    assert Plan(experiment, 50_000).rates(9, 11).tolist() == [0.4, 0.04]
    assert experiment.train_parameters.resolved_schedule().values == [0.1, 0.01]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no experiment in it"),
        ("---\n---\n", "no experiment in it"),
        ("just text", "document 1: expected a mapping"),
        ("model: [", "not valid YAML at line"),
        ("module: x", "document 1: model: missing"),
        ("model: a\nseeds: [1]\nmodel: b", "not valid YAML at line 3: the key model is repeated"),
        ("model: a\ntrain_parameters: {val_interval: {epochs: 1, epochs: 2}}", "the key epochs is repeated"),
        ("model: a\ntrain_parameters: {run_name: 2024-02-30}", "not valid YAML at line 2: 2024-02-30 is a date"),
        (
            "grid: {variant: {a: {model: a, train_parameters: {run_name: b}}}}",
            "variant.a: sets run_name, but run names",
        ),
        (
            "model: a\nmodule: __main__",
            "module: __main__ cannot be imported by other programs; put the function in a file of its own",
        ),
        (
            "model: a\ntrain_parameters: {optimizer: __main__.Own, schedule: {kind: cosine, duration: 9}}",
            "train_parameters.optimizer: '__main__.Own': cannot be imported by other programs; put it in a file",
        ),
        ("model: a\nmodule: [x]", "document 1: module: .*got \\['x'\\]"),
        ("recipes: {}\nrows: []", "document 1: these are rows to train; `cifarzoo fill-zoo --rows .*` trains them"),
        ("model: a\n---\nmodel: b\nmodle: c", "document 2: modle: unknown key"),
        ("model: a\ntrain_parameters: {lr: 1}", "train_parameters.lr: unknown key; write train_parameters.lr_values"),
        ("model: a\ntrain_parameters: {batch_size: many}", "train_parameters.batch_size: .* got 'many'"),
        ("model: a\ntrain_parameters: {lr_values: [0.1], lr_boundaries: [1, 2]}", "1 values and 2 boundaries"),
        ("model: a\ntrain_parameters: {lr_values: [0.1, 0.2, 0.3]}", "3 values and 4 boundaries"),
        ("model: a\ntrain_parameters: {lr_values: [no, 1, 1, 1]}", r"lr_values\[0\]: expected a number, got false"),
        ("model: a\ntrain_parameters: {lr_values: [1], lr_boundaries: [1], schedule: {kind: stepped}}", "not both"),
        ("model: a\ntrain_parameters: {schedule: {kind: cosine, duration: {epochs: 1, steps: 1}}}", "exactly one of"),
        (
            "model: a\ntrain_parameters: {schedule: {kind: cosine, duration: {hours: 3}}}",
            "steps, epochs, images, not hours",
        ),
        ("model: a\ntrain_parameters: {schedule: {kind: cosine, duration: {epochs: .inf}}}", "epochs: .*finite"),
        ("model: a\naugmentation: {crop: {}}", "document 1: augmentation: expected a name such as standard, or a list"),
        (
            "model: a\naugmentation: [crop, [flip]]",
            r"augmentation\[1\]: expected a name or one name with its parameters",
        ),
        (
            "model: a\naugmentation: [[[Invert, 0.1, 0.2], [Color, 0.1, 0.2]]]",
            r"augmentation\[0\]: expected a name or one",
        ),
        ("model: a\naugmentation: [{policies: [[Invert, 0.1, 0.2]]}]", r"\[0\]: policies: expected a mapping"),
        (
            "model: a\naugmentation: [{policies: {policies: [[Invert, 0.1, 0.2]]}}]",
            r"\[0\].policies: policies\[0\]: expected two operations",
        ),
        (
            "model: a\naugmentation: [{policies: {policies: [[[Invert, 0.1, 0.2], [Invert, 1.5, 0]]]}}]",
            r"\[0\].policies: policies\[0\]\[1\]: the probability of Invert must be between 0 and 1, got 1.5",
        ),
        ("model: a\ndataset: mnist", "dataset: expected cifar10, cifar100, synthetic, cifar100_coarse, got 'mnist'"),
        ("model: a\nseeds: []", "seeds"),
        ("model: a\nseeds: [1, 1]", "seeds must differ"),
        ("model: a\nval_split: validation", "train45k"),
        ("model: a\ntrain_parameters: {run_name: ../evil}", "run_name"),
        (
            "grid: {variant: {a: {recipe: 200ep}}}",
            "document 1: grid.variant.a: recipe: cannot be varied; write it in the document",
        ),
        ("grid: {variant: {a: {grid: {dataset: [cifar10]}}}}", "grid.variant.a: grid: cannot be varied"),
        ("model: a\n---\nmodel: a", "is also that of document 1; set train_parameters.run_name"),
        ("recipe: nowhere", "recipe 'nowhere' not found; searched"),
        ("model: a\ngrid: 3", "grid: expected keys with their values"),
        ("model: a\ngrid: {dataset: cifar10}", "grid.dataset: expected a list"),
        ("model: a\ngrid: {dataset: []}", "grid.dataset: expected a list"),
        ("model: a\ngrid: {augmentation: [[crop]]}", "grid.augmentation: values .* need a name"),
        ("model: a\ngrid: {seeds: [1, 2]}", "grid.seeds: not allowed in a grid"),
        ("model: a\ngrid: {train_parameters.run_name: [b]}", "run_name: not allowed in a grid"),
        ("model: a\ngrid: {train_parameters.lr: [1]}", "document 1: train_parameters.lr: unknown key"),
        ("model: a\ngrid: {datasets: [cifar10]}", "document 1: datasets: unknown key"),
        ("model: a\ngrid: {dataset: [cifar10, mnist]}", "document 1: dataset: .*'mnist'"),
        ("model: a\ngrid: {dataset: [cifar10, cifar10]}", "grid.dataset: the value cifar10 is listed twice"),
        (
            "model: a\ngrid: {train_parameters.batch_size: [64, 64]}",
            "document 1: grid.train_parameters.batch_size: the value 64 is listed twice",
        ),
        (
            "model: a\ngrid: {dataset: {x: cifar10, x-y: cifar100}, xla: {y-z: true, z: false}}",
            "document 1: grid: two combinations have the name 'a-x-y-z'; give the values names",
        ),
        ("grid: {variant: [a]}", "grid.variant: expected a mapping from names"),
        ("grid: {variant: {a: 3}}", "grid.variant.a: expected a mapping to lay over the document, got 3"),
        ("model: a\ngrid: {dataset: {a b: cifar10}}", "run_name.*'a-a b'"),
        ("model: a\ntrain_parameters: {accumulate: 0}", "train_parameters.accumulate"),
        ("model: a\ntrain_parameters: {weight_decay_mode: l2}", "'coupled' or 'decoupled'"),
        ("model: a\ntrain_parameters: {loss: hinge}", "'cross_entropy' or 'squared'"),
        ("model: a\ntrain_parameters: {ema_decay: 0.9, lookahead: {}}", "either ema_decay or lookahead"),
        ("model: a\ntrain_parameters: {lookahead: {decay: 1}}", "train_parameters.lookahead.decay"),
        (
            "model: a\ntrain_parameters: {progressive_resizing: [{size: 32, until: 9}]}",
            r"progressive_resizing\[0\].size",
        ),
        (
            "model: a\ntrain_parameters: {progressive_resizing: [{size: 24}]}",
            r"progressive_resizing\[0\].until: missing",
        ),
    ],
)
def test_an_error_names_its_location(read, text, message):
    with pytest.raises(ExperimentError, match=message) as caught:
        read(text)
    assert "batch.yaml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "in_a_file", "in_the_quickstart"),
    [
        (
            "recipe=200ep",
            "--set recipe=200ep: cannot be set, because a recipe is applied before --set; name it in the file",
            "--set recipe=200ep: the quickstart has no recipe; write an experiments file",
        ),
        (
            "grid.train_parameters.batch_size=[64,128]",
            None,
            "--set grid.train_parameters.batch_size=[64,128]: the quickstart has no grid; write an experiments file",
        ),
    ],
)
def test_keys_that_cannot_be_set_say_why(read, override, in_a_file, in_the_quickstart):
    if in_a_file is None:
        assert [one.train_parameters.batch_size for one in read("model: a", override)] == [64, 128]
    else:
        with pytest.raises(ExperimentError) as caught:
            read("model: a\n---\nmodel: b", override)
        assert str(caught.value) == in_a_file
    with pytest.raises(ExperimentError) as caught:
        quickstart_experiment([override])
    assert str(caught.value) == in_the_quickstart


@pytest.mark.parametrize("name", ["base", "two/one"])
def test_a_recipe_cannot_name_another_recipe(read, tmp_path, name):
    (tmp_path / "base.yaml").write_text("model: a\nrecipe: 200ep")
    (tmp_path / "two.yaml").write_text("model: one\nrecipe: 200ep\n---\nmodel: two")
    file = name.replace("base", "base.yaml").replace("two/", "two.yaml/")
    with pytest.raises(ExperimentError, match=f"document 1: recipe .*{file}: a recipe cannot name another recipe"):
        read(f"recipe: {name}")


def test_keys_of_a_document_are_unknown_elsewhere():
    with pytest.raises(ExperimentError) as caught:
        experiment_from([{"model": "a", "grid": {"dataset": ["cifar10"]}}], "rows.yaml, row 1")
    assert str(caught.value) == "rows.yaml, row 1: grid: unknown key; it has no meaning here"


def test_reading_experiments_imports_no_keras():
    code = (
        "import sys; from cifarzoo.augment import entries; from cifarzoo.experiment import files, grids, plan; "
        "files.read_experiments(files.Path(sys.argv[1])); "
        "sys.exit(bool({'keras', 'tensorflow', 'jax', 'torch'} & set(sys.modules)))"
    )
    recipe = Path(__file__).parent.parent / "recipes/fast_autoaugment_wrn.yaml"
    assert subprocess.run([sys.executable, "-c", code, recipe], check=False).returncode == 0


def test_missing_file(tmp_path):
    with pytest.raises(ExperimentError, match="nothing.yaml: cannot be read"):
        read_experiments(tmp_path / "nothing.yaml")


def test_stream_is_whole_epochs_in_any_pieces():
    whole = stream_indices(3, 100, 0, 250)
    assert sorted(whole[:100]) == sorted(whole[100:200]) == list(range(100))
    assert whole[:100].tolist() != whole[100:200].tolist()
    pieces = [stream_indices(3, 100, first, count) for first, count in ((0, 90), (90, 20), (110, 140))]
    assert np.concatenate(pieces).tolist() == whole.tolist()
    assert stream_indices(4, 100, 0, 100).tolist() != whole[:100].tolist()


def test_files_of_the_package_are_read_by_name():
    root = Path(__file__).parent.parent
    of_file = read_experiments(root / "recipes" / "vgg.yaml")
    assert read_experiments("@vgg") == read_experiments("@vgg.yaml") == of_file
    assert read_experiments("@vgg/vgg13") == [experiment for experiment in of_file if experiment.name == "vgg13"]
    assert read_experiments("@experiments") == read_experiments(root / "experiments.yaml")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("@vg", "'@vg': not a file of cifarzoo; did you mean @vgg[?] `cifarzoo train @` lists all"),
        ("@../vgg", "'@../vgg': not a file of cifarzoo; `cifarzoo train @` lists all"),
        ("@", "'@': not a file of cifarzoo; `cifarzoo train @` lists all"),
        ("@vgg/vgg1", "experiment vgg1: not in .*vgg.yaml; did you mean vgg19 or vgg16[?]"),
    ],
)
def test_other_names_of_files_are_refused(name, message):
    with pytest.raises(ExperimentError, match=message):
        read_experiments(name)


def test_the_summary_of_a_file_is_its_first_sentence(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# yaml-language-server: $schema=x\n#\n# A (b, c.\n# D) of E et al. 2015.\n# More.\n#\n# Other\n")
    assert summary(path) == "A of E et al. 2015"
    path.write_text("model: a\n# B.\n")
    assert summary(path) == ""
