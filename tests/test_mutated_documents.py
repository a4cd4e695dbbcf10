"""Mutated experiments, rows, policies and overrides: read, or refused with a line per mistake, quickly.

`python tests/test_mutated_documents.py 5000` tries more.
"""

import random
import sys
import tempfile
import time
from pathlib import Path

from cifarzoo.augment.policy_lists import read_policies
from cifarzoo.errors import CifarzooError
from cifarzoo.experiment.files import quickstart_experiment, read_experiments
from cifarzoo.experiment.plan import Plan
from cifarzoo.publishing.wanted import read_rows
from cifarzoo.strict_yaml import dump

EXPERIMENTS = """model: cifar_resnet20
module: my_nets
model_parameters: {block_type: original, shortcut_type: A}
dataset: cifar10
augmentation: [crop, {cutout: {size: 8, fill: [0, 1, 2]}}, {policies: {policies: [[[Invert, 0, 1], [Color, 1, 0]]]}}]
seeds: [0, 1]
precision: auto
train_parameters: &base
  run_name: a.b-c
  batch_size: 128
  weight_decay: 1e-4
  nesterov: true
  log_interval: {epochs: 1}
  progressive_resizing: [{size: 24, until: 5 epochs}]
  schedule: {kind: cosine, peak: 0.1, warmup: {steps: 400}, duration: {epochs: 90}}
---
recipe: resnet20_90ep
grid:
  train_parameters.momentum: [0.8, 0.9]
  augmentation: {plain: standard, mixed: [crop, {mixup: {alpha: 0.4}}]}
---
model: b
train_parameters:
  <<: *base
  schedule: {kind: piecewise_linear, points: [[0, 0], [{epochs: 5}, 0.4], [{epochs: 24}, 0]]}
""".replace("*base", "{run_name: d}")
ROWS = """recipes:
  short: {train_parameters: {batch_size: 64}, augmentation: standard}
  long: {train_parameters: {ema_decay: 0.9}}
stopgaps: [short]
common: {precision: auto}
rows:
  - {name: resnet20_v1, model: cifar_resnet20, dataset: cifar10, recipes: [long, short], seeds: [0, 1]}
"""
POLICIES = "- [[Invert, 0.1, 0.7], [Contrast, 0.2, 0.6]]\n- [[Rotate, 0.7, 0.2], [TranslateX, 0.3, 0.9]]\n"
OVERRIDES = ["train_parameters.batch_size=64", "augmentation=[crop, flip]", "grid.xla=[true]", "seeds=[1]"]

HOSTILE = [
    *(
        "yes",
        "no",
        "null",
        "~",
        "",
        ".inf",
        "-.inf",
        ".nan",
        "1e400",
        "-1",
        "0",
        "1e2",
        "3.5",
        "2024-01-01",
        "1:30",
        "010",
    ),
    *("0x" + "f" * 900, "9" * 5000, "10000000000000000000", "!!bool maybe", "!!int ''", "!!float x", "!!binary /w=="),
    *("!!timestamp x", "!!map [a]", "!!set {a}", "!!omap [a: b]", "!!python/name:os.system", "!<!> x", "&a [*a]", "*b"),
    *(
        "{a: b}",
        "[1, [2]]",
        "[[[[]]]]",
        "{}",
        "[]",
        "[" * 60,
        "{a: " * 60,
        "- " * 60,
        "'\\x00'",
        '"\\0"',
        '"\\e]0;x\\a"',
        '"a\\nb"',
    ),
    *(
        "\0",
        "\x1b",
        "\x85",
        "\ufeff",
        "\ud800",
        "\u202e",
        "é",
        "/dev/zero",
        "../../x",
        "a" * 300,
        "x" * 20_000,
        "? ",
        "<<: ",
        "=",
        "%",
    ),
    *(
        "{epochs: yes}",
        "{steps: 1, epochs: 2}",
        "5 parsecs",
        "9e9 epochs",
        "{kind: pyramid}",
        "{policies: {file: /dev/zero}}",
    ),
    *(
        "[" + "1," * 500 + "]",
        "{" + ",".join(f"k{i}: [1,2,3]" for i in range(20)) + "}",
        "--- a",
        "...",
        "# x",
        "|",
        ">-",
        "'",
        '"',
    ),
    "[&m0 [1,1]," + ",".join(f"&m{i} [*m{i - 1},*m{i - 1}]" for i in range(1, 24)) + "]",
]


def mutated(generator, text):
    """Return the text with a few changes: characters, words, lines or values."""
    for _ in range(generator.choice([1, 1, 2, 4])):
        lines = text.split("\n")
        at, position = generator.randrange(len(lines)), generator.randrange(len(text) + 1)
        words = lines[at].replace(":", " : ").replace(",", " , ").replace("[", "[ ").split(" ")
        match generator.randrange(8):
            case 0:
                text = text[:position] + generator.choice(HOSTILE) + text[position:]
            case 1:
                text = text[:position] + text[position + generator.randint(1, 20) :]
            case 2:
                lines.insert(at, generator.choice(lines))
                text = "\n".join(lines)
            case 3:
                del lines[at]
                text = "\n".join(lines)
            case 4:
                key, colon, _ = lines[at].partition(":")
                lines[at] = f"{key}: {generator.choice(HOSTILE)}" if colon else generator.choice(HOSTILE)
                text = "\n".join(lines)
            case 5:
                words[generator.randrange(len(words))] = generator.choice(HOSTILE)
                lines[at] = " ".join(words)
                text = "\n".join(lines)
            case 6:
                lines[at] = " " * generator.randint(0, 6) + lines[at].lstrip()
                text = "\n".join(lines)
            case 7:
                text = (
                    text[:position]
                    + chr(generator.choice([*range(128), 0x85, 0x2028, 0xD800, 0x1F600]))
                    + text[position:]
                )
    return text


def try_one(generator, folder):
    """Read one mutated text; return the error, or None if it was accepted."""
    path = folder / "mutated.yaml"
    kind = generator.choices(["experiments", "override", "rows", "policies"], [5, 2, 2, 1])[0]
    try:
        if kind == "override":
            experiments = [quickstart_experiment([mutated(generator, generator.choice(OVERRIDES))])]
        else:
            text = mutated(generator, {"experiments": EXPERIMENTS, "rows": ROWS, "policies": POLICIES}[kind])
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
            if kind == "policies":
                return read_policies(path) and None
            experiments = (
                read_experiments(path) if kind == "experiments" else [row.experiment for row in read_rows(path, "r")]
            )
        for experiment in experiments[:3]:
            Plan(experiment, 50_000).rates(0, 10)
            path.write_text(dump(experiment.resolved()), encoding="utf-8")
            assert read_experiments(path)[0].fingerprint() == experiment.fingerprint()
            assert experiment.location.isprintable()
    except CifarzooError as failure:
        return failure
    return None


def attack(tries, seed, folder):
    """Try mutated documents; return how many were accepted and refused, and the seconds of the slowest."""
    accepted, slowest = 0, 0.0
    for number in range(tries):
        start = time.perf_counter()
        failure = try_one(random.Random(f"{seed}-{number}"), folder)
        slowest = max(slowest, time.perf_counter() - start)
        accepted += failure is None
        for line in str(failure).replace(str(folder), "").split("\n"):
            assert line.isprintable() and len(line) <= 700, (seed, number, line)
    return accepted, tries - accepted, slowest


def test_mutated_documents_are_read_or_refused_in_plain_lines(tmp_path):
    accepted, refused, slowest = attack(300, 1, tmp_path)
    assert accepted > 20 and refused > 150
    assert slowest < 5  # of a busy machine


if __name__ == "__main__":
    print(attack(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2, Path(tempfile.mkdtemp())))
