"""The experiments files that come with cifarzoo, which commands and `read_experiments` take as `@NAME`."""

import difflib
import os
import re
from pathlib import Path

from cifarzoo.errors import ExperimentError
from cifarzoo.experiment.recipe_files import recipe_files
from cifarzoo.strict_yaml import excerpt, read_text

MARK = "@"


def shipped_files() -> dict[str, Path]:
    """Return the files by name: `experiments` is the file at the top of the repository, the others are recipes."""
    # In the checkout it is a link to the file at the top; where Git cannot make links, that file itself is read.
    own = Path(__file__).with_name("experiments.yaml")
    top = Path(__file__).resolve().parents[2] / "experiments.yaml"
    return {"experiments": top if top.is_file() else own} | recipe_files()


def locate(file: str | os.PathLike) -> tuple[Path, str]:
    """Return the path of an experiments file, and the name of the one experiment to read, "" for all.

    Args:
        file: A path, `@NAME` or `@NAME/EXPERIMENT`.

    Raises:
        ExperimentError: cifarzoo has no file of this name.
    """
    text = Path(file).as_posix()
    if not text.startswith(MARK):
        return Path(file), ""
    name, _, experiment = text.removeprefix(MARK).partition("/")
    files = shipped_files()
    if path := files.get(name.removesuffix(".yaml")):
        return path, experiment
    near = difflib.get_close_matches(name, files, n=1)
    advice = f"did you mean {MARK}{near[0]}? " if near else ""
    raise ExperimentError(f"{excerpt(text)}: not a file of cifarzoo; {advice}`cifarzoo train {MARK}` lists all")


def summary(path: Path) -> str:
    """Return the first sentence of the comment at the top of an experiments file, without what is in parentheses."""
    words: list[str] = []
    for line in read_text(path).splitlines():
        if not line.startswith("#") or (line == "#" and words):
            break
        if "yaml-language-server" not in line:
            words += line.removeprefix("#").split()
    text = re.sub(r" ?\([^()]*\)", "", " ".join(words))
    return re.split(r"\.(?= [A-Z]|$)", text, maxsplit=1)[0]
