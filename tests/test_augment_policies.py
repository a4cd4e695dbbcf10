"""AutoAugment, RandAugment, TrivialAugment and policy lists: what they draw and which input they refuse."""

import json
from collections import Counter

import numpy as np
import pytest
import yaml
from keras import ops
from test_augment_operations import pillow, textured

from cifarzoo.augment.pipeline import Pipeline, build
from cifarzoo.augment.policies import (
    AUTOAUGMENT_CIFAR10,
    RANDAUGMENT_OPERATIONS,
    autoaugment_value,
    fast_autoaugment_value,
    operations,
    trivialaugment_value,
)
from cifarzoo.augment.policy_lists import ABSOLUTE, OPERATIONS, read_policies
from cifarzoo.augment.random import Draws
from cifarzoo.augment.spec import AutoAugment, PolicyList, RandAugment, TrivialAugment
from cifarzoo.errors import ExperimentError

GOOD = [[["Invert", 0.5, 0.0], ["Rotate", 0.9, 1.0]], [["Cutout", 1, 0.5], ["Equalize", 0.0, 0.3]]]


# Cubuk et al. 2018, appendix, Table 7: one sub-policy per line; an operation is its name, probability and magnitude.
TABLE_7 = """
    Invert 0.1 7        Contrast 0.2 6
    Rotate 0.7 2        TranslateX 0.3 9
    Sharpness 0.8 1     Sharpness 0.9 3
    ShearY 0.5 8        TranslateY 0.7 9
    AutoContrast 0.5 8  Equalize 0.9 2
    ShearY 0.2 7        Posterize 0.3 7
    Color 0.4 3         Brightness 0.6 7
    Sharpness 0.3 9     Brightness 0.7 9
    Equalize 0.6 5      Equalize 0.5 1
    Contrast 0.6 7      Sharpness 0.6 5
    Color 0.7 7         TranslateX 0.5 8
    Equalize 0.3 7      AutoContrast 0.4 8
    TranslateY 0.4 3    Sharpness 0.2 6
    Brightness 0.9 6    Color 0.2 8
    Solarize 0.5 2      Invert 0.0 3
    Equalize 0.2 0      AutoContrast 0.6 0
    Equalize 0.2 8      Equalize 0.6 4
    Color 0.9 9         Equalize 0.6 6
    AutoContrast 0.8 4  Solarize 0.2 8
    Brightness 0.1 3    Color 0.7 0
    Solarize 0.4 5      AutoContrast 0.9 3
    TranslateY 0.9 9    TranslateY 0.7 9
    AutoContrast 0.9 2  Solarize 0.8 3
    Equalize 0.8 8      Invert 0.1 3
    TranslateY 0.7 9    AutoContrast 0.9 1
"""
# The meaning of magnitudes in docs/augmentation.md.
MEANING = {
    "ShearY": lambda magnitude: 0.3 * magnitude / 10,
    "TranslateX": lambda magnitude: magnitude,
    "TranslateY": lambda magnitude: magnitude,
    "Rotate": lambda magnitude: 30 * magnitude / 10,
    "Solarize": lambda magnitude: 256 - int(256 * magnitude / 10),
    "Posterize": lambda magnitude: 4 - int(0.4 * magnitude),
    **dict.fromkeys(("Contrast", "Color", "Brightness", "Sharpness"), lambda magnitude: 0.1 + 1.8 * magnitude / 10),
}


def test_the_autoaugment_table_is_that_of_the_paper():
    words = [line.split() for line in TABLE_7.strip().splitlines()]
    paper = [[(name, float(p), int(m)) for name, p, m in (row[:3], row[3:])] for row in words]
    assert [list(sub_policy) for sub_policy in AUTOAUGMENT_CIFAR10] == paper and len(paper) == 25
    for slot in (0, 1):
        for operation, row in zip(operations(AutoAugment(), slot, 32), paper, strict=True):
            name, probability, magnitude = row[slot]
            assert (operation.name, operation.probability) == (name, probability)
            if name in MEANING:  # the others have no strength
                assert operation.value == pytest.approx(MEANING[name](magnitude)), name


def test_values_at_levels_are_those_of_the_authors_code():
    assert [autoaugment_value("Posterize", 7), autoaugment_value("Solarize", 2), autoaugment_value("Rotate", 2)] == [
        2,
        205,
        6,
    ]
    assert autoaugment_value("ShearY", 8) == pytest.approx(0.24) and autoaugment_value("Color", 9) == pytest.approx(
        1.72
    )
    wide = {name: [trivialaugment_value(name, level) for level in (0, 15, 30)] for name in RANDAUGMENT_OPERATIONS}
    assert wide["ShearX"] == pytest.approx([0, 0.495, 0.99]) and wide["Color"] == pytest.approx([0.01, 1.005, 2.0])
    assert wide["TranslateY"] == [0, 16, 32] and wide["Rotate"] == [0, 67, 135]
    assert wide["Posterize"] == [8, 5, 2] and wide["Solarize"] == [256, 128, 0]
    fast = {name: [fast_autoaugment_value(name, level, 32) for level in (0.0, 0.5, 1.0)] for name in OPERATIONS}
    assert fast["TranslateX"] == pytest.approx([-14.4, 0, 14.4]) and fast["Cutout"] == pytest.approx([0, 3.2, 6.4])
    assert fast["Rotate"] == pytest.approx([-30, 0, 30]) and fast["ShearX"] == pytest.approx([-0.3, 0, 0.3])
    assert fast["Posterize"] == [4, 6, 8] and fast["Solarize"] == [0, 128, 256]
    assert fast["Brightness"] == pytest.approx([0.1, 1.0, 1.9])
    absolute = {name: [fast_autoaugment_value(name, level, 32) for level in (0.0, 0.5, 0.9, 1.0)] for name in ABSOLUTE}
    assert absolute["TranslateXAbs"] == absolute["TranslateYAbs"] == pytest.approx([0, 5, 9, 10])
    assert absolute["Posterize2"] == [0, 2, 3, 4] and absolute["CutoutAbs"] == pytest.approx([0, 10, 18, 20])


def test_absolute_operations_of_a_list_are_the_usual_ones_on_pixels():
    policies = [[["TranslateXAbs", 1.0, 0.3], ["Posterize2", 0.5, 0.5]], [["CutoutAbs", 1.0, 0.8], ["Invert", 0.0, 0]]]
    first, second = (operations(PolicyList(policies=policies), slot, 40) for slot in (0, 1))
    assert first == (("TranslateX", 1.0, pytest.approx(3)), ("Cutout", 1.0, pytest.approx(16)))
    assert second[0] == ("Posterize", 0.5, 2)


def run(policy, images, step=0):
    draws = Draws(3, step, np.arange(len(images), dtype="int32"))
    changed, _ = Pipeline([policy]).run(images, np.zeros(len(images), "int32"), draws)
    return ops.convert_to_numpy(changed), ops.convert_to_numpy(draws.uniform(policy.draws_per_image))


@pytest.mark.parametrize("policy", [AutoAugment(fill=(0, 0, 0)), RandAugment(fill=(0, 0, 0)), TrivialAugment()])
def test_a_policy_is_pillow_operation_by_operation(policy):
    """Carry out the same draws with Pillow, one image and one operation at a time."""
    images = textured(128)
    changed, numbers = run(policy, images)
    assert changed.dtype == np.uint8
    touched = 0
    for image, got, drawn in zip(images, changed, numbers.astype("float64"), strict=True):
        expected = image
        for slot in range(policy.slots):
            choices = operations(policy, slot, 32)
            choice, whether, sign, _ = drawn[4 * slot : 4 * slot + 4]
            name, probability, value = choices[int((choice if policy.independent_slots else drawn[0]) * len(choices))]
            if name == "Identity" or whether >= np.float32(probability):
                continue
            if name.startswith(("Shear", "Translate", "Rotate")) and sign < 0.5:
                value = -value
            expected = pillow(name, expected, value)
        touched += (expected != image).any()
        # An Equalize amplifies a difference of one gray level, so count the pixels that agree.
        assert (np.abs(got.astype(int) - expected) <= 1).mean() > 0.98
    assert touched > 64


def test_sub_policies_are_drawn_uniformly_and_applied_with_their_probabilities():
    policies = [[["Invert", 0.3, 0.0], ["Posterize", 0.0, 0.0]], [["Solarize", 1.0, 0.5], ["Brightness", 1.0, 0.0]]]
    images = np.full((1000, 2, 2, 3), 200, "uint8")
    changed, _ = run(PolicyList(policies=policies), images)
    outcome = Counter(changed[:, 0, 0, 0].tolist())
    assert set(outcome) == {200, 55, 5}  # untouched; inverted; inverted above 128 and then a tenth as bright
    assert abs(outcome[5] - 500) < 65 and abs(outcome[55] - 150) < 50


def test_trivialaugment_draws_all_operations_and_strengths():
    assert len(operations(TrivialAugment(), 0, 32)) == 14 * 31
    assert len(operations(RandAugment(operations_per_image=1), 0, 32)) == 14


@pytest.mark.parametrize(("name", "dump"), [("p.yaml", yaml.safe_dump), ("p.json", json.dumps)])
def test_policies_come_from_a_file_or_from_the_list_itself(tmp_path, name, dump):
    (tmp_path / name).write_text(dump(GOOD))
    expected = build([{"policies": {"policies": GOOD}}]).specs[0].policies
    assert read_policies(tmp_path / name) == expected
    assert build([{"policies": {"file": str(tmp_path / name)}}]).specs[0].policies == expected
    assert expected[1][0] == ("Cutout", 1.0, 0.5)


def changed(place, value):
    """Return GOOD with one entry replaced."""
    policies = json.loads(json.dumps(GOOD))
    entry = policies
    for step in place[:-1]:
        entry = entry[step]
    entry[place[-1]] = value
    return policies


@pytest.mark.parametrize(
    ("policies", "position", "words"),
    [
        (changed((1, 0, 0), "Twirl"), "[1][0]", "unknown operation 'Twirl'"),
        (changed((0, 1, 1), 1.5), "[0][1]", "probability of Rotate must be between 0 and 1, got 1.5"),
        (changed((0, 1, 2), -0.1), "[0][1]", "level of Rotate must be between 0 and 1, got -0.1"),
        (changed((0, 1, 2), 9), "[0][1]", "level of Rotate must be between 0 and 1, got 9"),
        (changed((0, 1, 1), "often"), "[0][1]", "probability of Rotate"),
        (changed((0, 1, 1), True), "[0][1]", "probability of Rotate"),
        (changed((0, 1), ["Rotate", 0.5]), "[0][1]", "expected [name, probability, level]"),
        (changed((1,), ["Rotate", 0.5, 0.5]), "[1]", "expected two operations"),
        (changed((1,), ["Rotate", 0.5]), "[1]", "expected two operations"),
        (changed((1,), [GOOD]), "[1]", "expected two operations"),
        (changed((1,), "Rotate"), "[1]", "expected two operations"),
        (changed((0, 0, 0), ["Invert"]), "[0][0]", "unknown operation"),
        ([GOOD], "[0][0]", "expected [name"),
        ([], "", "list of sub-policies"),
        ({"a": 1}, "", "list of sub-policies"),
        (None, "", "list of sub-policies"),
    ],
)
def test_a_bad_policy_is_one_line_with_file_and_position(tmp_path, policies, position, words):
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(policies))
    with pytest.raises(ExperimentError) as caught:
        build(["crop", {"policies": {"file": str(path)}}])
    message = str(caught.value)
    assert (
        message.startswith(f"augmentation[1].policies: {path}{position}: ") and words in message and "\n" not in message
    )


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.json", '[[["Invert", 0.5,', "p.json: not valid JSON at line 1"),
        ("p.yaml", "- [[Invert, 0.5, 0.1]\n- [", "p.yaml: not valid YAML at line"),
        ("p.yaml", b"\xff\xfe\x00", "cannot be read (not UTF-8 text)"),
        ("absent.yaml", None, "No such file"),
    ],
)
def test_an_unreadable_file_is_one_line(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ExperimentError) as caught:
        read_policies(tmp_path / name)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("autoaugmented", "cutmix, got 'autoaugmented'"),
        (["crop", "twirl"], "augmentation[1]: unknown augmentation 'twirl'; known are crop, flip"),
        ([{"crop": {"padding": 999}}], "augmentation[0].crop.padding"),
        ([{"cutout": {"fill": [0, 0, 300]}}], "augmentation[0].cutout.fill"),
        ([{"mixup": {"alpha": 0}}], "augmentation[0].mixup.alpha"),
        ([{"randaugment": {"magnitude": 11}}], "augmentation[0].randaugment.magnitude"),
        ([{"policies": {}}], "augmentation[0].policies: expected exactly one of `file` and `policies`"),
        (
            [{"policies": {"file": "a.yaml", "policies": GOOD}}],
            "augmentation[0].policies: expected exactly one of `file` and `policies`",
        ),
        (
            [{"policies": {"policies": [["Invert", 0.5, 0.5]]}}],
            "augmentation[0].policies: policies[0]: expected two operations",
        ),
        ([{"crop": {}, "flip": {}}], "augmentation[0]: expected a name or one name"),
        ([{"crop": {"size": 9}}], "augmentation[0].crop: unknown parameter size; known are padding, mode"),
        ([{"crop": 9}], "augmentation[0]: crop: expected a mapping of parameters, got 9"),
        ([{"cutout": {"fill": "black"}}], "augmentation[0].cutout.fill: expected 'mean', got 'black'"),
        ([{"cutout": {"fill": 3}}], "augmentation[0].cutout.fill: expected mean or [red, green, blue]"),
        ({"crop": {}}, "augmentation: expected a name such as standard, or a list"),
        ([17], "augmentation[0]: expected a name or one name with its parameters"),
    ],
)
def test_a_wrong_augmentation_is_a_one_line_error_with_its_location(description, words):
    with pytest.raises(ExperimentError) as caught:
        build(description)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_images_too_large_for_fixed_point_are_refused():
    with pytest.raises(ExperimentError, match="65x64"):
        run(AutoAugment(), np.zeros((2, 65, 64, 3), "uint8"))
