"""Print rows as a table on a terminal, otherwise as Markdown, TSV, CSV or JSON.

    def command(form: Format = "") -> None:
        print_rows(rows, [Column("model"), Column("error", "error %", ".2f")], form)

Names come from untrusted files, so no cell is read as markup, and control characters are quoted.
"""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cifarzoo.errors import ExperimentError, printable

if TYPE_CHECKING:
    import rich.table

FORMATS = ("table", "markdown", "tsv", "csv", "json")


def _check(form: str) -> str:
    """Return the requested format; by default a table on a terminal and Markdown otherwise."""
    if not form:
        return "table" if sys.stdout.isatty() else "markdown"
    if form not in FORMATS:
        raise ExperimentError(f"--format {printable(form)}: expected {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    return form


# The option of every command that prints rows; its default must be "". The command receives one of FORMATS.
Format = Annotated[
    str,
    typer.Option(
        "--format",
        callback=_check,
        show_default=False,
        help="table, markdown, tsv, csv or json. Default: table on a terminal, else markdown.",
    ),
]


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        key: Its key in every row, and its name in TSV and CSV.
        title: Its heading for people; by default the key. Tables keep line breaks in it.
        spec: Format of its numbers for people, such as ",.2f", or a function that formats any value in all formats.
        unit: Divisor of its numbers for people; not used in TSV and CSV.
        numeric: Whether to align it on the right; by default whether `spec` is a format.
        rank: If a terminal is too narrow, columns with the highest rank are left out first; those of rank 0 stay.
    """

    key: str
    title: str = ""
    spec: str | Callable[[Any], str] = ""
    unit: float = 1
    numeric: bool | None = None
    rank: int = 0

    @property
    def heading(self) -> str:
        """The heading for people."""
        return self.title or self.key

    @property
    def is_numeric(self) -> bool:
        """Whether to align on the right."""
        return isinstance(self.spec, str) and self.spec != "" if self.numeric is None else self.numeric

    def cell(self, row: dict[str, Any], plain: bool = False) -> str:
        """Format the row's value on one line, "" without a value; `plain` is for programs and has six digits."""
        value = row.get(self.key)
        if value is None:
            return ""
        if callable(self.spec):
            return self.spec(value)
        if self.spec and isinstance(value, int | float) and not isinstance(value, bool):
            if plain:
                return str(value) if isinstance(value, int) else f"{value:.6g}"
            return format(value / self.unit if self.unit != 1 else value, self.spec)
        if isinstance(value, list | tuple):
            return ", ".join(printable(str(item)) for item in value)
        return printable(str(value))


def columns_of(rows: Sequence[dict[str, Any]], without: Sequence[str] = (), digits: str = "") -> list[Column]:
    """Return a column for every key that any of the rows has.

    Args:
        rows: Rows of numbers and text.
        without: Keys that only JSON shows.
        digits: Format of floating-point numbers; by default three to five digits.
    """
    keys = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in without]

    def cell(value: Any) -> str:
        if not isinstance(value, float):
            return printable(str(value))
        return format(value, digits) if digits else _number(value)

    # The first column always stays; on a narrow terminal the others are left out from the right.
    return [
        Column(key, spec=cell, numeric=any(isinstance(row.get(key), int | float) for row in rows), rank=rank)
        for rank, key in enumerate(keys)
    ]


def _number(value: float) -> str:
    if value and not 0.1 <= abs(value) < 1e6:
        return f"{value:.3g}"
    return f"{value:.{4 if abs(value) < 10 else 3}f}"


def print_rows(
    rows: Sequence[dict[str, Any]],
    columns: Iterable[Column],
    form: str,
    title: str = "",
    group: str | None = None,
) -> None:
    """Print rows on standard output.

    Args:
        rows: The rows. JSON prints them whole, the other formats only the columns.
        columns: The columns.
        form: One of FORMATS.
        title: Heading of a table on a terminal.
        group: A key of the rows. A table on a terminal shows its value as a heading above the rows that share it.
    """
    columns = list(columns)
    if form == "table":
        print_table(rows, columns, title, group)
    else:
        print(format_rows(rows, columns, form))


def print_record(
    heading: str,
    fields: dict[str, str | None],
    form: str,
    data: dict[str, Any],
    rows: Sequence[dict[str, Any]] = (),
    columns: Sequence[Column] = (),
    title: str = "",
) -> None:
    """Print a description of one object on standard output.

    Args:
        heading: Its name, on a line of its own; "" for none.
        fields: Its properties by label, for people; those without a value are left out.
        form: One of FORMATS. Markdown has one "label: value" per line.
        data: The same for programs: JSON prints it whole, TSV and CSV one row per key, with nested values as JSON.
        rows: Rows of a table below, for people.
        columns: The columns of this table.
        title: Heading of this table on a terminal.
    """
    known = {label: printable(value) for label, value in fields.items() if value}
    if form == "json":
        print(json.dumps(data, indent=2))
    elif form in ("tsv", "csv"):
        pairs = [
            {"key": key, "value": value if value is None or isinstance(value, str) else json.dumps(value)}
            for key, value in data.items()
        ]
        print(format_rows(pairs, [Column("key"), Column("value")], form))
    elif form == "markdown":
        print("\n".join([printable(heading), *(f"{label}: {value}" for label, value in known.items())]).lstrip("\n"))
        if rows:
            print(f"\n{format_rows(rows, columns, form)}")
    else:
        _print_fields(heading, known)
        if rows:
            print()
            print_table(rows, columns, title, None)


def _print_fields(heading: str, known: dict[str, str]) -> None:
    import rich.console
    import rich.table
    from rich.text import Text

    console = rich.console.Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    if heading:
        console.print(Text(printable(heading), style="bold"), soft_wrap=False)
    grid = rich.table.Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    for label, value in known.items():
        grid.add_row(Text(label), Text(value))
    console.print(grid)


def format_rows(rows: Sequence[dict[str, Any]], columns: Sequence[Column], form: str) -> str:
    """Format rows as "markdown", "tsv", "csv" or "json", without a newline at the end."""
    if form == "json":
        return json.dumps(list(rows), indent=2)
    if form == "markdown":
        heads = [" ".join(column.heading.split()) for column in columns]
        rule = ["---:" if column.is_numeric else "---" for column in columns]
        cells = [[column.cell(row).replace("|", "\\|") for column in columns] for row in rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in [heads, rule, *cells])
    lines = [[column.key for column in columns], *([column.cell(row, True) for column in columns] for row in rows)]
    if form == "tsv":
        return "\n".join("\t".join(line) for line in lines)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue().removesuffix("\n")


def print_table(rows: Sequence[dict[str, Any]], columns: Sequence[Column], title: str, group: str | None) -> None:
    """Print a table for people, without the columns that do not fit the terminal."""
    import rich.console

    console = rich.console.Console(highlight=False)
    # In a file or a pipe, lines have any length, unless $COLUMNS sets the width.
    width = console.width if sys.stdout.isatty() or "COLUMNS" in os.environ else None
    if width is None:
        console.width = 10_000
    console.print(rich_table(rows, columns, width, title, group))


def rich_table(
    rows: Sequence[dict[str, Any]],
    columns: Sequence[Column],
    width: int | None = None,
    title: str = "",
    group: str | None = None,
) -> "rich.table.Table":
    """Make a rich table that fits `width`, by leaving out columns and then by folding names.

    Args:
        rows: Its rows.
        columns: Its columns.
        width: Width of the terminal in characters; None for no limit.
        title: Its heading.
        group: See `print_rows`.
    """
    import rich.cells
    import rich.table
    from rich.text import Text

    columns = list(columns)
    widths = {
        column.key: max(
            rich.cells.cell_len(line) for text in [column.heading, *map(column.cell, rows)] for line in text.split("\n")
        )
        for column in columns
    }
    gap = 2
    left_out: list[Column] = []
    while width and sum(widths[column.key] + gap for column in columns) - gap > width:
        highest = max(column.rank for column in columns)
        if not highest:
            break
        left_out.insert(0, next(column for column in reversed(columns) if column.rank == highest))
        columns.remove(left_out[0])
    names = ", ".join(" ".join(column.heading.split()) for column in left_out)
    table = rich.table.Table(
        title=Text(title, style="bold") if title else None,
        caption=Text(f"A wider terminal, or --format, shows {names}.", style="dim") if names else None,
        caption_justify="left", title_justify="left", box=None, pad_edge=False,
        padding=(0, gap, 0, 0), header_style="bold",
    )  # fmt: skip
    for column in columns:
        table.add_column(
            Text(column.heading),
            justify="right" if column.is_numeric else "left",
            vertical="bottom",
            no_wrap=column.is_numeric,  # a number is never cut
            overflow="fold",
        )
    shown = object()
    for row in rows:
        if group and row[group] != shown:
            shown = row[group]
            table.add_row(Text(printable(str(shown)), style="bold cyan"))
        table.add_row(*(Text(column.cell(row)) for column in columns))
    return table
