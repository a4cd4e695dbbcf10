"""Transfers over HTTP that continue after an interruption, and web pages that arrive instead of files."""

from collections.abc import Callable

# Called while a file arrives: with the bytes that are there, and with all that are expected, if known.
Progress = Callable[[int, int | None], None]
