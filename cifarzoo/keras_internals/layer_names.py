"""Name layers without names of their own the same, however many models a process has built."""

import collections
import contextlib

from cifarzoo.keras_internals.support import internal, private_module

COUNTERS = "object_name_uids"


@internal("numbering layers from the start", without="unnamed layers get higher numbers after other models were built")
def supported() -> bool:
    """Whether Keras keeps the numbers of the names that it makes up where this module looks."""
    naming = private_module("utils.naming")
    with _new_counters():
        return [naming.auto_name("Probe") for _ in range(2)] == ["probe", "probe_1"]


@contextlib.contextmanager
def names_from_the_start():
    """Name layers in the context as in a new process: `conv2d`, `conv2d_1`, and so on."""
    with _new_counters() if supported.or_warn() else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _new_counters():
    """Count made-up names from zero in the context, and go on with the earlier counts after it."""
    state = private_module("backend.common.global_state")
    before = state.get_global_attribute(COUNTERS)
    state.set_global_attribute(COUNTERS, collections.defaultdict(int))
    try:
        yield
    finally:
        state.set_global_attribute(COUNTERS, before)
