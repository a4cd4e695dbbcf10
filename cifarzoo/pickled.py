"""Read a pickle as data: nothing that it names is imported or called.

Python's own unpickler builds whatever a pickle names. The one here knows the instructions that build containers,
numbers and texts, and looks names up in a table of stand-ins; every other name is an error. Sets become lists, and keys
are single numbers or texts, because hashing nested tuples that share parts can take exponential time.
"""

import pickletools
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# The optimizer state of a network of a thousand layers takes 700,000 instructions. Two million take 5 s and 200 MB.
MOST_INSTRUCTIONS = 2_000_000
BYTES_PER_INSTRUCTION = 64  # of what a stand-in may copy
LARGEST_KEY = 64  # bits of a number
PYTHON2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

StandIn = Callable[..., Any]


@dataclass(frozen=True)
class Name:
    """Stands for what a pickle names: "MODULE.NAME"."""

    text: str


class Mark:
    """Begins a list of arguments on the stack."""


MARK = Mark()


class PickleError(Exception):
    """A pickle that is refused. The message says what it does, without the subject: "has a tuple as a key"."""


class DamagedPickleError(PickleError):
    """A pickle that no program writes."""


class Unpickler:
    """Runs the instructions of a pickle, or of several.

    Args:
        stand_ins: Functions by name: each gets the arguments with which the pickle calls that name, and checks them.
            None for names that the pickle may mention but not call. If the result of one has a method `set_state`, it
            gets the state that the pickle gives to it.
        refusal: Returns the error for a name that is not in the table ("contains", NAME) or must not be called
            ("calls", NAME).
        persistent: Returns what a persistent id stands for.
        most_instructions: How many instructions all pickles together may take. What a stand-in may copy counts too: an
            instruction for each member and for each 64 bytes.
        keep_bytes: Whether Python 2's strings become bytes; otherwise they become text in latin1.
    """

    def __init__(
        self,
        stand_ins: Mapping[str, StandIn | None],
        refusal: Callable[[str, str], Exception],
        persistent: Callable[[Any], Any] | None = None,
        most_instructions: int = MOST_INSTRUCTIONS,
        keep_bytes: bool = False,
    ):
        self._stand_ins = stand_ins
        self._refusal = refusal
        self._persistent = persistent
        self._keep_bytes = keep_bytes
        self._most = self._left = most_instructions
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self, file: Any) -> Any:
        """Return the object of the pickle at the position of a binary file, and move to the end of the pickle.

        Raises:
            PickleError: the pickle is damaged, takes too long, or has keys other than numbers and text.
            Exception: `refusal` or a stand-in returns or raises it; damage makes pickletools raise many kinds.
        """
        self._stack, self._memo = [], {}
        for instruction, argument, _ in pickletools.genops(file):  # compares each length with the remaining bytes
            self._spend(1)
            self._run(instruction.name, argument)
        (result,) = self._stack
        if result is MARK:
            raise DamagedPickleError("is empty")
        return result

    def _spend(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise PickleError(f"takes more than {self._most:,} instructions")

    def _run(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in VALUES:
            stack.append(argument)
        elif name in PYTHON2_STRINGS:
            stack.append(argument.encode("latin1") if self._keep_bytes else argument)
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in EMPTY:
            stack.append(EMPTY[name]())
        elif name == "MARK":
            stack.append(MARK)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self._remember(argument)
        elif name == "MEMOIZE":
            self._remember(len(self._memo))
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self._memo[argument])
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            stack.append(self._name(argument if name == "GLOBAL" else None))
        elif name == "BINPERSID":
            stack.append(self._from_persistent_id(self._pop()))
        elif name in ACTIONS:
            ACTIONS[name](self)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise DamagedPickleError(f"has the instruction {name}, which data does not need")

    def _remember(self, index: int) -> None:
        if index > self._most:
            raise DamagedPickleError(f"has a memo entry {index:,}, more than it may have instructions")
        self._memo[index] = self._top()

    def _top(self) -> Any:
        if not self._stack or self._stack[-1] is MARK:
            raise DamagedPickleError("uses a value that is not there")
        return self._stack[-1]

    def _pop(self) -> Any:
        value = self._top()
        self._stack.pop()
        return value

    def _pop_to_mark(self) -> list[Any]:
        position = len(self._stack) - 1
        while self._stack[position] is not MARK:
            position -= 1
            if position < 0:
                raise DamagedPickleError("uses a mark that is not there")
        values = self._stack[position + 1 :]
        del self._stack[position:]
        return values

    def _name(self, text: str | None) -> Name:
        if text is None:
            name, module = self._pop(), self._pop()
        else:
            module, _, name = text.partition(" ")
        if not isinstance(name, str) or not isinstance(module, str):
            raise DamagedPickleError("has a name that is not text")
        full = f"{PYTHON2_MODULES.get(module, module)}.{name}"
        if full not in self._stand_ins:
            raise self._refusal("contains", f"{full:.200}")
        return Name(full)

    def _from_persistent_id(self, value: Any) -> Any:
        if self._persistent is None:
            raise DamagedPickleError("refers to data outside of it")
        return self._persistent(value)

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise DamagedPickleError("calls something that is not a name")
        stand_in = self._stand_ins[function.text]
        if stand_in is None:
            raise self._refusal("calls", function.text)
        self._spend_on(arguments)
        self._stack.append(stand_in(*arguments))

    def _spend_on(self, arguments: Any) -> None:
        """Count what a stand-in may copy: a pickle can refer to the same large value again and again."""
        if not isinstance(arguments, tuple):
            arguments = (arguments,)
        self._spend(len(arguments) // 8)  # the loop below takes as long as an instruction for so many
        for argument in arguments:
            if isinstance(argument, (str, bytes, bytearray)):
                self._spend(len(argument) // BYTES_PER_INSTRUCTION)
            elif isinstance(argument, (list, tuple, dict)):
                self._spend(len(argument))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        self._spend_on(state)
        if hasattr(target, "set_state"):
            target.set_state(state)
        elif not isinstance(target, dict):  # the state of a dictionary is PyTorch's `_metadata`, which nobody needs
            raise DamagedPickleError("gives a state to something that has none")

    def _append(self) -> None:
        value, target = self._pop(), self._top()
        _check_type(target, list).append(value)

    def _extend(self) -> None:
        values = self._pop_to_mark()
        _check_type(self._top(), list).extend(values)

    def _set_item(self) -> None:
        value, key = self._pop(), self._pop()
        _set(self._top(), [key, value])

    def _set_items(self) -> None:
        values = self._pop_to_mark()
        _set(self._top(), values)

    def _dictionary(self) -> None:
        values = self._pop_to_mark()
        result: dict[Any, Any] = {}
        _set(result, values)
        self._stack.append(result)

    def _tuple(self, length: int | None = None) -> None:
        if length is None:
            self._stack.append(tuple(self._pop_to_mark()))
        else:
            self._stack.append(tuple(reversed([self._pop() for _ in range(length)])))

    def _discard(self) -> None:
        if not self._stack:
            raise DamagedPickleError("uses a value that is not there")
        self._stack.pop()


def _check_type(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise DamagedPickleError(f"uses a {type(value).__name__} as a {kind.__name__}")
    return value


def _set(target: Any, values: list[Any]) -> None:
    """Store keys and values, which alternate."""
    _check_type(target, dict)
    if len(values) % 2:
        raise DamagedPickleError("has a key without a value")
    for key, value in zip(values[::2], values[1::2], strict=True):
        target[checked_key(key)] = value


def checked_key(key: Any) -> Any:
    """Return a key that can be hashed in no time.

    Raises:
        PickleError: it is of another kind.
    """
    is_small = key.bit_length() <= LARGEST_KEY if isinstance(key, int) else isinstance(key, (str, bytes, float))
    if key is not None and not is_small:
        raise PickleError(f"has a {type(key).__name__} as a key; expected text or a number")
    return key


_short = reprlib.Repr()
_short.maxlevel, _short.maxtuple, _short.maxlist, _short.maxstring = 2, 8, 8, 40


def shown(value: Any) -> str:
    """Return the beginning of a value's `repr`, which takes exponential time for lists and tuples that share parts."""
    return _short.repr(value)


VALUES = set(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
PYTHON2_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
ACTIONS: dict[str, Callable[[Unpickler], Any]] = {
    "REDUCE": Unpickler._call,
    "NEWOBJ": Unpickler._call,
    "BUILD": Unpickler._build,
    "APPEND": Unpickler._append,
    "APPENDS": Unpickler._extend,
    "ADDITEMS": Unpickler._extend,
    "SETITEM": Unpickler._set_item,
    "SETITEMS": Unpickler._set_items,
    "DICT": Unpickler._dictionary,
    "TUPLE": Unpickler._tuple,
    "TUPLE1": lambda machine: machine._tuple(1),
    "TUPLE2": lambda machine: machine._tuple(2),
    "TUPLE3": lambda machine: machine._tuple(3),
    "LIST": lambda machine: machine._stack.append(machine._pop_to_mark()),
    "FROZENSET": lambda machine: machine._stack.append(machine._pop_to_mark()),
    "DUP": lambda machine: machine._stack.append(machine._top()),
    "POP": Unpickler._discard,
    "POP_MARK": Unpickler._pop_to_mark,
}
