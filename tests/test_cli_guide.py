"""The help of the command line and what the shell completes, without starting Keras."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cifarzoo.cli.application import command
from cifarzoo.cli.guide import GROUPS
from cifarzoo.models.catalogue import catalogue
from cifarzoo.training.outcomes import STOPPED

ROOT = Path(__file__).parent.parent
EXAMPLES = {name: example for examples in GROUPS.values() for name, example in examples.items()}


def test_every_command_is_in_one_group_and_has_an_example():
    names = [name for examples in GROUPS.values() for name in examples]
    assert len(names) == len(set(names)) and set(names) == set(command().commands)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_valid_command_lines(name):
    """The parser of the command itself takes them; an unknown option or a missing argument is an error."""
    start, called, *arguments = shlex.split(EXAMPLES[name].partition(" > ")[0])
    assert (start, called) == ("cifarzoo", name)
    parsed = command().commands[name].make_context(name, arguments)
    given = [argument for argument in arguments if argument.startswith("-")]
    known = {option for parameter in parsed.command.params for option in parameter.opts}
    assert set(given) <= known


def test_the_help_shows_groups_examples_and_exit_statuses():
    def printed(*arguments):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "100"}
        result = subprocess.run(
            [sys.executable, "-m", "cifarzoo", *arguments], capture_output=True, text=True, env=environment
        )
        assert result.returncode == 0
        return " ".join(result.stdout.split())

    whole = printed("-h")
    assert all(f"─ {group} ─" in whole for group in GROUPS) and "─ Commands ─" not in whole
    said = re.search(r"Exit status: .*?\.", whole)[0]
    assert "75 stopped and saved (the same command resumes it)" in said
    # The table in the documents has the same ones, and what a stopped batch returns is among them.
    table = re.findall(r"^\| +(\d+) \|", (ROOT / "docs" / "terminal.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"(\d+) ", said) == table and str(STOPPED) in table
    assert f"Example: {EXAMPLES['augment']}" in printed("augment", "-h")  # nothing of it is read as markup


def completions(*words):
    """What bash gets from the script of `cifarzoo --install-completion` for the last word."""
    code = "import sys; sys.argv = ['cifarzoo']; from cifarzoo.cli import main; main()"
    line = {"COMP_WORDS": f"cifarzoo {' '.join(words)}", "COMP_CWORD": str(len(words))}
    environment = os.environ | {"PYTHONPATH": str(ROOT), "_CIFARZOO_COMPLETE": "complete_bash"} | line
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("ev",), ["evaluate"]),
        (("show", "cifar_wrn_16"), ["cifar_wrn_16_4", "cifar_wrn_16_8"]),
        (("evaluate", "resnet20_v1_cifar100"), ["resnet20_v1_cifar100_200ep_s0"]),
        (("train", "@vg"), ["@vgg"]),
        (("import", "osmr/wrn28_10_cifar1"), ["osmr/wrn28_10_cifar10", "osmr/wrn28_10_cifar100"]),
        (("import", "akam"), ["akamaster/"]),
        (("train", "exp"), []),  # then bash completes files
    ],
)
def test_the_shell_completes(words, expected):
    assert completions(*words) == expected


def test_completion_of_networks_offers_all_models():
    from cifarzoo.cli.completion import complete_network

    assert set(catalogue()) <= set(complete_network(""))
