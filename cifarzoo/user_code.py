"""Import and call the user's own code, and turn what it does wrong into one line."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from cifarzoo.errors import CifarzooError, ModelError, summarize


@contextlib.contextmanager
def no_exit(source: str, error: type[CifarzooError] = ModelError) -> Iterator[None]:
    """Inside the block, keep `sys.exit` in the user's code from ending the process and with it a whole batch.

    Raises:
        error: `sys.exit` was called.
    """
    try:
        yield
    except SystemExit as leaving:
        raise error(f"{source}: calls sys.exit({leaving.code!r}); only a script may do that") from None


def user_module(name: str, key: str, error: type[CifarzooError]) -> ModuleType:
    """Import a module of the user's.

    Args:
        name: Its name.
        key: The key of the document that names it, for the message.
        error: What to raise.

    Raises:
        error: it cannot be imported.
    """
    with no_exit(f"{key}: {name}", error):
        try:
            return importlib.import_module(name)
        except Exception as failure:  # whatever the module raises
            raise error(f"{key}: cannot import {name!r} ({summarize(failure)})") from None


def find_modules(folder: Path) -> None:
    """Let Python find the modules in a folder, for experiments and runs with a `module`.

    The folder comes last, so that its files never replace an installed package.
    """
    sys.path.append(str(folder.resolve()))
