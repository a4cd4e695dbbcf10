"""Hostile YAML is one line, at once and in little memory; numbers are strict; mistakes are told in plain words."""

import re
import time
import tracemalloc
import types
import typing
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from cifarzoo.augment.entries import specs_of
from cifarzoo.augment.spec import SPECS
from cifarzoo.errors import ExperimentError, MistakesError
from cifarzoo.experiment.files import only_matching, quickstart_experiment, read_experiments
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.recipes import training_settings
from cifarzoo.experiment.schedules import AnySchedule
from cifarzoo.experiment.schema import Experiment
from cifarzoo.publishing.wanted import read_rows
from cifarzoo.strict_yaml import dump, excerpt, parse, parse_all

BOMB = "m0: &m0 {a: 1}\n" + "".join(f"m{i}: &m{i} {{a: *m{i - 1}, b: *m{i - 1}}}\n" for i in range(1, 27))
MERGES = "m0: &m0 {a: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}]}}\n" for i in range(1, 27))


def mistakes(folder, text, *overrides):
    """Return the lines of the error that a file with this text is."""
    path = folder / "batch.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ExperimentError) as caught:
        read_experiments(path, overrides)
    return str(caught.value).replace(str(folder), "").split("\n")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (BOMB, "at line 12: more than 20,000 values, with those that aliases repeat"),
        (MERGES, "at line 12: more than 20,000 values"),
        (
            f"a: &a {'x' * 50_000}\nmodel: [{'*a, ' * 2_000}]",
            "at line 2: more than 500,000 characters, with those that al",
        ),
        ("[" * 500, "at line 1: nested more than 50 levels deep"),
        ("- " * 500, "at line 1: nested more than 50 levels deep"),
        ("[1," * 100_000, "nested more than 50 levels deep"),
        ("- 1\n" * 100_000, "at line 20000: more than 20,000 values"),
        ("---\n" * 50_000, "more than 20,000 values"),
        ("model: &a {b: *a}", "at line 1: the alias \\*a lies inside what it repeats"),
        ("a: 1\n---\n- &a [*a]", "at line 3: the alias \\*a lies inside what it repeats"),
        ("model: !!bool maybe", "at line 1: 'maybe' is not a valid bool"),
        ("model: !!int ''", "'' is not a valid int"),
        ("model: !!float x", "'x' is not a valid float"),
        ("model: !!map [a]", "at line 1: "),
        ("model: !!binary /w==", "a value of type binary; expected text, numbers, booleans, lists and mappings"),
        ("model: !!python/object/apply:os.system [ls]", "a value of type 'python/object/apply:os.system'"),
        ("model: !!set {a}", "a value of type set"),
        ("model: 2024-01-01", "at line 1: 2024-01-01 is a date; put it in quotes if it is text"),
        ("model: " + "9" * 5000, "'9{76}\\.\\.\\. is not a valid int"),
        ("model: 0x" + "f" * 4000, "is an integer of more than 64 bits"),
        (
            "model: a\nseeds: [010]",
            "at line 2: '?010'? is an octal or base 60 number; write it in decimal, or in quotes",
        ),
        ("seeds: [-007]", "at line 1: -007 is an octal"),
        ("description: 1:30", "at line 1: '1:30' is an octal or base 60 number; write it in decimal, or in quotes"),
        ("description: 1:30.5", "at line 1: '1:30.5' is an octal"),
        ("a: 1\nmodel: a\0b", "at line 2: the character U\\+0000 is not allowed"),
        ("model: \ud800", "cannot be read .not UTF-8 text."),
        ("? [a]\n: b", "at line 1: found unhashable key"),
        ('"\\e]0;x": 1\n"\\e]0;x": 2', "at line 2: the key '.x1b]0;x' is repeated"),
        ("#" * 600_000, "longer than 500,000 bytes"),
    ],
)
def test_hostile_yaml_is_one_line_at_once(tmp_path, text, problem):
    start = time.perf_counter()
    (line,) = mistakes(tmp_path, text)
    assert time.perf_counter() - start < 5  # a busy machine's second
    assert re.search(problem, line), line
    assert len(line) < 300 and line.isprintable()


def test_an_excerpt_of_a_long_text_is_quick():
    start = time.process_time()
    assert excerpt("x" * 20_000_000) == f"'{'x' * 76}..."
    assert time.process_time() - start < 0.5  # looking at every character takes a second


def test_bombs_take_little_memory():
    tracemalloc.start()
    with pytest.raises(ExperimentError):
        parse(BOMB, "bomb")
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("text", [BOMB, MERGES, BOMB + "#" * 10_000])
def test_a_text_of_any_length_repeats_no_more_than_its_length(text):
    with pytest.raises(ExperimentError, match="more than (20,000|21,[0-9]{3}) values"):
        parse(text, "bomb", any_length=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- 1\n" * 20_001, [1] * 20_001),
        ("- {a}\n" * 10_000, [{"a": None}] * 10_000),
        ("x" * 500_001, "x" * 500_001),
    ],
)
def test_a_text_of_any_length_is_read(text, expected):
    with pytest.raises(ExperimentError, match="more than 20,000 values|longer than 500,000 bytes"):
        parse(text, "long")
    assert parse(text, "long", any_length=True) == expected


def test_plain_data_is_read_as_it_was_dumped():
    document = {"a": "1e4", "b": [1e-5, 3, "yes", None, True, "2024-01-01", "="], "c": {"d": "ä\n", "1": ".5e3"}}
    assert parse(dump(document), "") == document
    assert parse_all("a: &x [1]\nb: *x\n---\nc: =", "") == [{"a": [1], "b": [1]}, {"c": "="}]


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        (
            "train_parameters: {lr: 1, batch_size: yes, momentum: 2}",
            [],
            [
                "train_parameters.batch_size: expected a whole number, got true",
                "train_parameters.momentum: must be less than 1, got 2.0",
                "train_parameters.lr: unknown key; write train_parameters.lr_values and lr_boundaries, or the",
            ],
        ),
        ("lr: 1", [], ["lr: unknown key; write train_parameters.lr_values"]),
        ("learning_rat: 1", [], ["learning_rat: unknown key; write train_parameters.lr_values"]),
        ("epochs: 9", [], ["epochs: unknown key; write a train_parameters.schedule, such as {kind: cosine"]),
        ("optimizer: adam", [], ["optimizer: unknown key; write it in train_parameters"]),
        ("adamw: {}", [], ["adamw: unknown key; write train_parameters.optimizer, such as {name: AdamW, weight_"]),
        ("batch_size: 64", [], ["batch_size: unknown key; write it in train_parameters"]),
        ("train_parameters: {seeds: [1]}", [], ["train_parameters.seeds: unknown key; write it at the top level"]),
        ("progresive: 3", [], ["progresive: unknown key; did you mean train_parameters.progressive_resizing?"]),
        ("recip: 3", [], ["recip: unknown key; did you mean recipe?"]),
        ("zzz: 3", [], ["zzz: unknown key; known are model, description, module, "]),
        ("model_parameters: {l2_reg: 1}", [], ["model_parameters.l2_reg: write train_parameters.weight_decay: twice"]),
        (
            "model_parameters: {N: 3, K: 2}",
            [],
            ["model_parameters.N: set depth to 6 N + 4 in a cifar_wide", "model_parameters.K: set width in a"],
        ),
        ("model_parameters: {1: 2}", [], ["model_parameters.1: expected text, got 1"]),
        (
            "dataset: {a: b}",
            [],
            ["dataset: expected cifar10, cifar100, synthetic, cifar100_coarse, {folder: PATH}, {arrays: FILE"],
        ),
        ("train_parameters: {schedule: {peak: 1}}", [], ["train_parameters.schedule.kind: expected one of constant, "]),
        (
            "train_parameters: {schedule: {kind: cosin}}",
            [],
            ["train_parameters.schedule.kind: expected one of constant"],
        ),
        (
            "train_parameters: {schedule: {kind: cosine, lr: 1, duration: 5 parsecs}}",
            [],
            [
                "train_parameters.schedule.duration: expected a duration: a number of steps, {epochs: 5}, {images",
                "train_parameters.schedule.lr: unknown key; the largest rate is `peak`",
            ],
        ),
        (
            "train_parameters: {schedule: {kind: piecewise_linear, points: [[0, 0], [5], [3, 1, 2]]}}",
            [],
            [
                "train_parameters.schedule.points[1]: too few values, got [5]",
                "train_parameters.schedule.points[2]: expected at most 2 value(s), got [3, 1, 2]",
            ],
        ),
        (
            "train_split: train45k\ntrain_parameters: {batch_size: 45001}",
            [],
            ["train_parameters.batch_size: 45001 is more than the 45000 training images of cifar10"],
        ),
        ("train_parameters: {log_interval: yes}", [], ["train_parameters.log_interval: expected a duration"]),
        (
            "augmentation: [{policies: {file: /dev/zero}}]",
            [],
            ["augmentation[0].policies: /dev/zero: cannot be read (not"],
        ),
        (
            'augmentation: [{policies: {file: "a\\0b"}}]',
            [],
            ["augmentation[0].policies: 'a\\x00b': cannot be read (embedded null byte)"],
        ),
        ("recipe: {a: b}", [], ["recipe: expected the name or path of a recipe, got {'a': 'b'}"]),
        ("recipe: " + "x" * 300, [], ["recipe 'xxx"]),
        ("recipe: zoo", [], ["recipe /recipes/zoo.yaml: it lists rows to train; name one of its recipes or rows"]),
        (
            "recipe: resnet20_80ep",
            [],
            ["recipe 'resnet20_80ep' not found; searched  and /recipes; did you mean"],
        ),
        (
            "recipe: vgg/vgg12",
            [],
            ["recipe /recipes/vgg.yaml: has no experiment 'vgg12'; it has vgg11, vgg13, vgg16, "],
        ),
        (
            'module: "\\e]0;x"',
            [],
            ["module: expected the name of a Python module, such as my_networks, got '\\x1b]0;x'"],
        ),
        ("train_parameters: {run_name: " + "x" * 300 + "}", [], ["train_parameters.run_name: must have at most 200"]),
        (
            'train_parameters: {logdir: "a\\nb"}',
            [],
            ["train_parameters.logdir: expected text without control characters"],
        ),
        ('"\\e]0;x": 3', [], ["'\\x1b]0;x': unknown key"]),
        ("train_parameters: 3\ngrid: {seeds_at_once: [1]}", [], ["train_parameters: expected a mapping, got 3"]),
        (
            "grid: {" + ", ".join(f"a{i}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]" for i in range(12)) + "}",
            [],
            ["grid: expected at most 1,000 combinations, got more than 10^12"],
        ),
        ("grid: {" + ", ".join(f"a{i}: [1]" for i in range(60)) + "}", [], ["grid: expected at most 50 keys, got 60"]),
        ("grid: {" + "a." * 100 + "b: [1]}", [], ["grid.'a.a."]),
    ],
)
def test_mistakes_are_told_in_plain_words(tmp_path, monkeypatch, text, overrides, expected):
    root = Path(__file__).parent.parent
    lines = mistakes(tmp_path, f"model: a\n{text}", *overrides)
    lines = [line.replace(str(root), "") for line in lines]
    assert len(lines) == len(expected), lines
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"/batch.yaml, document 1: {start}"), line
        assert line.isprintable() and len(line) < 600


@pytest.mark.parametrize(
    "override",
    [
        "a" * 5000,
        "model",
        "model=" + "[" * 500,
        "model.x=1",
        "a" + ".a" * 5000 + "=1",
        "model=a\0b",
        "\x1b]0;x\x07=!!int x",
    ],
)
def test_a_wrong_override_is_one_line(tmp_path, override):
    (line,) = mistakes(tmp_path, "model: a\n---\nmodel: b", override)
    assert line.startswith("--set ") and line.isprintable() and len(line) < 300


def test_mistakes_of_all_documents_are_reported_together(tmp_path):
    lines = mistakes(tmp_path, "modle: a\n---\nmodel: b\nxla: 1\n---\nmodel: b\ngrid: {xla: [3, 4]}")
    assert [line.partition(", ")[2] for line in lines] == [
        "document 1: model: missing, but required",
        "document 1: modle: unknown key; did you mean module or model?",
        "document 2: xla: expected true or false, got 1",
        "document 3: xla: expected true or false, got 3",
    ]
    lines = mistakes(tmp_path, "---\n".join(f"model: a\nb{number}: 1\n" for number in range(30)))
    assert len(lines) == 20 and lines[-1] == "... and 11 more mistakes"
    with pytest.raises(MistakesError):
        quickstart_experiment(["xla=3", "seeds=3"])


def test_a_file_has_at_most_a_thousand_experiments(tmp_path):
    documents = "---\n".join(f"model: m{number}\n" for number in range(1001))
    assert mistakes(tmp_path, documents) == ["/batch.yaml: expected at most 1,000 experiments; split the file"]


def test_no_augmentation_in_a_point_of_a_grid_is_refused_as_without_a_grid(tmp_path):
    alone = mistakes(tmp_path, "model: a\naugmentation: null")
    grid = mistakes(tmp_path, "model: a\ngrid: {variant: {a: {seeds: [1]}, b: {augmentation: null}}}")
    assert grid == alone


def test_points_of_a_grid_share_long_lists_of_policies(tmp_path):
    policies = "[" + "[[Invert, 0.1, 0.7], [Contrast, 0.2, 0.6]], " * 100 + "]"
    augmentations = "{a: [flip], b: &b [{policies: {policies: PP}}], c: *b}"
    grid = f"grid: {{train_parameters.momentum: [0.1, 0.2], augmentation: {augmentations}}}"
    (tmp_path / "a.yaml").write_text("model: a\n" + grid.replace("PP", policies))
    experiments = read_experiments(tmp_path / "a.yaml")
    assert [one.name for one in experiments][:3] == ["a-momentum_0.1-a", "a-momentum_0.1-b", "a-momentum_0.1-c"]
    assert experiments[1].augmentation[0] is experiments[2].augmentation[0] is experiments[4].augmentation[0]
    (tmp_path / "a.yaml").write_text(dump(experiments[4].resolved()))
    assert read_experiments(tmp_path / "a.yaml")[0].fingerprint() == experiments[4].fingerprint()


def test_durations_as_text_and_whole_numbers_as_floats(tmp_path):
    text = (
        "model: a\nseeds: [1e0, 2.0]\ntrain_parameters: {batch_size: 1e2, log_interval: 1e2, val_interval: 5 epochs, "
        "checkpoint_interval: .5 epochs, steps_per_call: 2.0, lr_boundaries: [1e1], lr_values: [1], "
        "lookahead: {start: 1 step, interval: 2e0}}"
    )
    (tmp_path / "a.yaml").write_text(text)
    (one,) = read_experiments(tmp_path / "a.yaml")
    parameters = one.train_parameters
    assert (one.seeds, parameters.batch_size, parameters.steps_per_call) == ([1, 2], 100, 2)
    assert [parameters.log_interval.steps, parameters.lookahead.start.steps] == [100, 1]
    assert [parameters.val_interval.epochs, parameters.checkpoint_interval.epochs] == [5, 0.5]
    (tmp_path / "a.yaml").write_text(dump(one.resolved()))
    assert read_experiments(tmp_path / "a.yaml")[0].fingerprint() == one.fingerprint()


def test_numpys_numbers_are_numbers():
    one = Experiment.model_validate(
        {"model": "a", "train_parameters": {"batch_size": np.int64(8), "momentum": np.float32(0)}}
    )
    assert (one.train_parameters.batch_size, one.train_parameters.momentum) == (8, 0)


def numeric_fields():
    """Yield every field of a model read from YAML whose values are numbers, as (model, field)."""
    schedules = typing.get_args(typing.get_args(AnySchedule)[0])
    seen, waiting = set(), [Experiment, *SPECS.values(), *schedules]
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        for name, field in model.model_fields.items():
            for kind in leaves(field.annotation):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    waiting.append(kind)
                elif kind in (int, float):
                    yield model, name


def leaves(kind):
    if typing.get_origin(kind) is typing.Annotated:
        return leaves(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType, list, tuple):
        return [leaf for inner in typing.get_args(kind) for leaf in leaves(inner)]
    return [kind]


def nested(model, name, value):
    """Put a value where the field has its first number."""
    kind = model.model_fields[name].annotation
    while typing.get_origin(kind) in (list, tuple, typing.Annotated):
        is_list, kind = typing.get_origin(kind) is not typing.Annotated, typing.get_args(kind)[0]
        value = [value] if is_list else value
    return value


@pytest.mark.parametrize(
    "value",
    [True, False, float("inf"), float("nan"), "nan", "yes", 10**400, "1" * 100 + "abc"],
    ids=lambda value: str(value)[:5],
)
def test_every_number_is_strict(value):
    met = set()
    for model, name in numeric_fields():
        met.add(f"{model.__name__}.{name}")
        field = model.model_fields[name]
        annotation = typing.Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        with pytest.raises(ValidationError):
            print(model, name, TypeAdapter(annotation).validate_python(nested(model, name, value)))
    assert {"Experiment.seeds", "TrainParameters.batch_size", "Duration.epochs", "Cosine.peak", "Crop.padding"} <= met
    assert {"PiecewiseLinear.points", "Stepped.values", "ResizingStage.size", "LookaheadParameters.power"} <= met


@pytest.mark.parametrize("factors", ["{learning_rate: yes, factors: [1]}", "{learning_rate: 1, factors: [.inf]}"])
def test_factors_are_numbers_too(tmp_path, factors):
    schedule = factors.replace("{", "{kind: stepped, boundaries: [5], ")
    (line,) = mistakes(tmp_path, f"model: a\ntrain_parameters: {{schedule: {schedule}}}")
    assert "train_parameters.schedule" in line


def test_numbers_of_rows_are_strict(tmp_path):
    rows = "recipes: {r: {}}\nrows: [{name: a, model: a, dataset: cifar10, recipes: [r], seeds: [yes]}]"
    (tmp_path / "rows.yaml").write_text(rows)
    with pytest.raises(ExperimentError, match=r"rows\[0\].seeds\[0\]: expected a whole number, got true"):
        read_rows(tmp_path / "rows.yaml", "runs")


def test_steps_fit_int32():
    long = quickstart_experiment(["train_parameters.schedule.duration={epochs: 2e9}"])
    with pytest.raises(ExperimentError, match="train_parameters.schedule: at most 2147483647 steps"):
        Plan(long, 50_000)


def test_recipes_are_found_by_name_from_any_folder(tmp_path):
    for name in ("resnet20_90ep", "resnet20_90ep.yaml", "vgg/vgg11", "200ep", "90ep", "resnet20_v1_cifar10_he2015_s0"):
        (tmp_path / "a.yaml").write_text(f"recipe: {name}\nmodel: cifar_resnet32\ntrain_parameters: {{run_name: a}}")
        (one,) = read_experiments(tmp_path / "a.yaml")
        assert (one.model, one.name) == ("cifar_resnet32", "a")
        assert one.fingerprint() != Experiment(model="cifar_resnet32").fingerprint()
    assert training_settings("200ep")[0]["train_parameters"]["ema_decay"] == 0.999


def test_only_takes_patterns(tmp_path):
    (tmp_path / "a.yaml").write_text("model: a\ngrid: {augmentation: [mixup, cutmix, none]}")
    path = tmp_path / "a.yaml"
    experiments = read_experiments(path)
    assert [one.name for one in only_matching(experiments, ["*mix*", "a-mixup"], path)] == ["a-mixup", "a-cutmix"]
    assert len(only_matching(experiments, [], path)) == 3
    with pytest.raises(ExperimentError, match="--only a-mixop: not in .*; did you mean a-mixup or"):
        only_matching(experiments, ["a-mixop"], path)


@pytest.mark.parametrize(
    "value", [10**5000, [[]] * 10**5, "\x1b[2J", {"a": {"b": []}}], ids=lambda value: type(value).__name__
)
def test_any_value_from_python_is_quoted_on_one_line(value):
    with pytest.raises(ExperimentError) as caught:
        specs_of([value])
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()
