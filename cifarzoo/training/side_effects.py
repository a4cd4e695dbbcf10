"""Find out whether calling a copy of a callback changes anything except the copy and files in the working directory.

A copy shares with the original what `copy.deepcopy` does not copy: functions, classes, and the objects that their code
uses. When in doubt, assume that the callback has side effects; it is then not tried before training.
"""

import collections
import dis
import functools
import os
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras

# Keras' own callbacks that send data to a server.
SENDS = (keras.callbacks.RemoteMonitor,)
# Arguments and attributes of Keras' callbacks that are paths; `try_callbacks` redirects them into a temporary folder.
PATHS = ("filepath", "filename", "log_dir")
# Packages whose copied objects are independent of the originals and write nothing on their own.
INDEPENDENT = {"builtins", "collections", "datetime", "keras", "numpy"}
# Names with which code finds folders outside the working directory.
OUTSIDE = {"environ", "expanduser", "getenv", "home"}
# Packages of base classes that have no side effects of their own.
PLAIN_BASES = {"abc", "builtins", "keras", "typing"}
CONTAINERS = (list, tuple, set, frozenset, collections.deque)
NUMBERS = (int, float, complex, bytes, range, type(None), type(...))


def leaves_no_trace(callback: keras.callbacks.Callback) -> bool:
    """Whether calling a copy of a callback changes nothing except the copy and the working directory."""
    classes = [base for base in type(callback).__mro__ if base.__module__.partition(".")[0] not in PLAIN_BASES]
    if isinstance(callback, SENDS) or not all(_is_own(base.__module__) for base in classes):
        return False
    search = _Search()
    attributes = [value for name, value in vars(callback).items() if name not in (*PATHS, "_model")]
    return not any(map(search.changes_class, classes)) and not any(map(search.changes_copied, attributes))


class _Search:
    """Looks for shared objects that can change; examines each object at most once as copied and once as shared."""

    def __init__(self):
        self._seen: dict[tuple[int, bool], Any] = {}  # keeps objects alive, so that ids stay unique

    def changes_copied(self, value: Any) -> bool:
        """Whether the use of an object that is copied with the callback can have side effects."""
        if isinstance(value, NUMBERS) or self._knows(value, copied=True):
            return False
        if isinstance(value, CONTAINERS):
            return any(map(self.changes_copied, value))
        if isinstance(value, dict):
            return any(map(self.changes_copied, (*value.keys(), *value.values())))
        if isinstance(value, functools.partial):
            return any(map(self.changes_copied, (value.func, value.args, value.keywords)))
        if isinstance(value, MethodType):
            return self.changes_shared(value.__func__) or self.changes_copied(value.__self__)
        if isinstance(value, (str, PurePath, ModuleType, type, FunctionType, BuiltinFunctionType)):
            return self._changes(value)
        if not _is_own(type(value).__module__):
            return type(value).__module__.partition(".")[0] not in INDEPENDENT
        classes = [base for base in type(value).__mro__ if _is_own(base.__module__)]
        return any(map(self.changes_class, classes)) or any(
            map(self.changes_copied, getattr(value, "__dict__", {}).values())
        )

    def changes_shared(self, value: Any) -> bool:
        """Whether code that refers to an object that is not copied can have side effects."""
        if isinstance(value, NUMBERS) or self._knows(value, copied=False):
            return False
        return self._changes(value)

    def changes_class(self, kind: type) -> bool:
        """Whether the methods and variables of a user's class can have side effects."""
        for name, value in vars(kind).items():
            parts: list[Any] = [value]
            if isinstance(value, (staticmethod, classmethod)):
                parts = [value.__func__]
            elif isinstance(value, property):
                parts = [value.fget, value.fset, value.fdel]
            elif isinstance(value, functools.cached_property):
                parts = [value.func]
            elif name.startswith("__annotate") or (name.startswith("__") and not isinstance(value, FunctionType)):
                continue  # such as __doc__ and __dict__
            if any(map(self.changes_shared, parts)):
                return True
        return False

    def _knows(self, value: Any, copied: bool) -> bool:
        is_known = (id(value), copied) in self._seen
        self._seen[id(value), copied] = value
        return is_known

    def _changes(self, value: Any) -> bool:
        if isinstance(value, (str, PurePath)):
            return _is_outside(str(value)) or _is_file(str(value))  # a copied callback would not find the file
        if isinstance(value, (tuple, frozenset)):
            return any(map(self.changes_shared, value))
        if isinstance(value, ModuleType):
            return _is_own(value.__name__)
        if isinstance(value, type):
            return _is_own(value.__module__) and self.changes_class(value)
        if isinstance(value, FunctionType):
            return _is_own(value.__module__) and self._changes_by_code(value)
        if isinstance(value, BuiltinFunctionType):  # such as the `append` of a list
            return not isinstance(value.__self__, (ModuleType, type, type(None)))
        return True

    def _changes_by_code(self, function: FunctionType) -> bool:
        free = function.__code__.co_freevars
        used = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values(), *vars(function).values()]
        for code in _nested(function.__code__):
            instructions = list(dis.get_instructions(code))
            if OUTSIDE & {*code.co_names} or _assigns_outside(instructions, free):
                return True
            used += [constant for constant in code.co_consts if not isinstance(constant, CodeType)]
            for instruction in instructions:
                if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME") and instruction.argval in function.__globals__:
                    used.append(function.__globals__[instruction.argval])
        for cell in function.__closure__ or ():
            try:
                used.append(cell.cell_contents)
            except ValueError:  # not assigned yet
                return True
        return any(map(self.changes_shared, used))


def _nested(code: CodeType) -> Iterator[CodeType]:
    """Yield a function's code and that of the functions and classes inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _assigns_outside(instructions: list[dis.Instruction], free: tuple[str, ...]) -> bool:
    """Whether code assigns a variable of the surrounding code, or an attribute of an object of it."""
    for number, instruction in enumerate(instructions):
        if instruction.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            return True
        if instruction.opname in ("STORE_DEREF", "DELETE_DEREF") and instruction.argval in free:
            return True
        following = instructions[number + 1].opname if number + 1 < len(instructions) else ""
        is_changed = instruction.opname in ("STORE_ATTR", "DELETE_ATTR") or (
            instruction.opname == "COPY" and following == "LOAD_ATTR"
        )
        if is_changed and number:
            owner = instructions[number - 1]
            if owner.opname in ("LOAD_GLOBAL", "LOAD_NAME", "CALL") or owner.argval == "__class__":
                return True
    return False


def _is_outside(text: str) -> bool:
    """Whether a text may be a path outside the working directory, or a URL."""
    is_outside = text.startswith("~") or "://" in text or ".." in PurePath(text).parts
    return is_outside or bool(os.path.isabs(text) and text.strip("/\\"))


def _is_file(text: str) -> bool:
    try:
        return os.path.isfile(text)
    except (OSError, ValueError):
        return False


def _is_own(module: str | None) -> bool:
    """Whether a module is the user's own, not one of the standard library or an installed package."""
    top = (module or "").partition(".")[0]
    if top in sys.stdlib_module_names - {"__main__"} or top in ("builtins", "keras", "cifarzoo"):
        return False
    path = getattr(sys.modules.get(module or ""), "__file__", None)
    folders = {sysconfig.get_path(name) for name in ("purelib", "platlib")}
    return path is None or not any(Path(path).is_relative_to(folder) for folder in folders)
