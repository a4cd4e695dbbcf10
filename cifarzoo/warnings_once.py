"""Log each warning once: a batch of runs builds a network for its check, and then one for each seed."""

import contextlib
import logging
import re
from collections.abc import Iterator

# Keras counts models without a name, so that the same line begins with another name for every seed.
NUMBERED = re.compile(r"^(functional|sequential)_\d+:")


@contextlib.contextmanager
def each_warning_once() -> Iterator[None]:
    """Drop lines of the package's log that repeat an earlier one in the block; also a decorator."""
    lines: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        line = NUMBERED.sub(r"\1:", record.getMessage())
        is_repeated = line in lines
        lines.add(line)
        return not is_repeated

    logger = logging.getLogger("cifarzoo")
    logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)
