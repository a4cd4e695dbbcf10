"""Output in notebooks: tables instead of long representations, and lines on stdout, because stderr is red there."""

import html
import logging
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from cifarzoo.errors import printable


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    if "IPython" not in sys.modules:
        return False
    shell = sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")


def say(line: str) -> None:
    """Print a line for the user, without wrapping it: on stdout in a notebook, elsewhere on stderr."""
    print(printable(line), file=sys.stdout if in_notebook() else sys.stderr, flush=True)


def html_table(rows: Iterable[Mapping[str, Any]], title: str = "") -> str:
    """Format rows as a table for a notebook. Missing and None are empty, floats have three digits after the point.

    Args:
        rows: Cells by column; the columns are those of all rows, in order of appearance.
        title: Title above the table.
    """
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = "".join(f'<th style="text-align:left">{html.escape(column)}</th>' for column in columns)
    body = "".join("<tr>" + "".join(_cell(row.get(column)) for column in columns) + "</tr>" for row in rows)
    caption = f"<b>{html.escape(title)}</b>" if title else ""
    return f"<div>{caption}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def html_pairs(pairs: Mapping[str, Any], title: str) -> str:
    """Format names and values as a table of two columns without a header, below a title."""
    body = "".join(f'<tr><td style="text-align:left">{html.escape(k)}</td>{_cell(v)}</tr>' for k, v in pairs.items())
    return f"<div><b>{html.escape(title)}</b><table><tbody>{body}</tbody></table></div>"


def _cell(value: Any) -> str:
    text = "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)
    return f'<td style="text-align:left">{html.escape(text)}</td>'


class LogOnStdout(logging.Handler):
    """Prints records on stdout, for kernels in which logging has not been configured."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message, unless the root logger has handlers of its own."""
        if not logging.getLogger().handlers:
            say(record.getMessage())


def log_on_stdout() -> None:
    """Print the package's warnings on stdout."""
    logger = logging.getLogger("cifarzoo")
    if not logger.handlers:
        logger.addHandler(LogOnStdout(logging.WARNING))
