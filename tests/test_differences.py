"""Settings that tell documents apart, with documents written by hand."""

from cifarzoo.experiment.differences import differing_keys, labels, named_keys, named_values

SGD = {"model": "resnet20", "augmentation": ["crop", {"randaugment": {"magnitude": 5}}], "nesterov": False}


def test_a_setting_within_a_list_is_named_alone():
    other = SGD | {"augmentation": ["crop", {"randaugment": {"magnitude": 6}}]}
    assert labels([SGD, other]) == [
        "augmentation.1.randaugment.magnitude: 5",
        "augmentation.1.randaugment.magnitude: 6",
    ]


def test_values_are_written_as_in_yaml_and_missing_ones_are_not_set():
    other = SGD | {"nesterov": True, "optimizer": {"name": "AdamW"}, "augmentation": SGD["augmentation"][:1]}
    assert named_values([SGD, other]) == (
        " (augmentation.1.randaugment.magnitude: 5 / not set, nesterov: false / true, optimizer.name: not set / AdamW)"
    )
    assert named_values([SGD, SGD]) == ""
    assert named_values([{"a": 0}, {"a": 1}, {"a": 1}]) == " (a: 0 / 1)"
    assert named_values([{"keep": []}, {"keep": None}]) == " (keep: [] / not set)"


def test_a_scalar_in_place_of_a_section_is_told_apart():
    assert labels([{"dataset": "cifar100"}, {"dataset": {"folder": "cats"}}]) == [
        "dataset: cifar100, dataset.folder: not set",
        "dataset: a section, dataset.folder: cats",
    ]


def test_long_values_differ_and_show_their_ends():
    """For example two paths in the same folder."""
    folder = "runs/" + "long" * 20
    documents = [{"init_weights": f"{folder}/seed{seed}/final.weights.h5"} for seed in (0, 1)]
    ends = [f"...{document['init_weights'][-37:]}" for document in documents]
    assert labels(documents) == [f"init_weights: {end}" for end in ends]
    assert named_values(documents) == f" (init_weights: {ends[0]} / {ends[1]})"


def test_keys_that_tell_the_rest_apart_come_first():
    """Six settings separate the first document from the others; only `f` separates these two."""
    documents = [dict.fromkeys("abcdef", 0), dict.fromkeys("abcdef", 1), dict.fromkeys("abcde", 1) | {"f": 2}]
    assert labels(documents) == [
        "a: 0, f: 0, b: 0, c: 0 and 2 more",
        "a: 1, f: 1, b: 1, c: 1 and 2 more",
        "a: 1, f: 2, b: 1, c: 1 and 2 more",
    ]


def test_a_message_says_how_many_keys_it_leaves_out():
    before, after = {"a": {"x": 0, "y": 0}, "b": [0], "c": 0, "d": 0}, {"a": {"x": 1}, "b": [1], "c": 1, "d": 0, "e": 1}
    assert named_keys(differing_keys(before, after)) == " (different: a.x, a.y, b, c and 1 more)"
