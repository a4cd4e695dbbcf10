"""How commands print rows: widths of terminals, formats for programs, and names that try to be something else."""

import csv
import io
import json

import pytest
import rich.console

from cifarzoo.cli.output import Column, format_rows, print_rows, rich_table
from cifarzoo.errors import printable

COLUMNS = [
    Column("model"),
    Column("parameters", spec=","),
    Column("macs", "MMACs", ",.1f", unit=1e6),
    Column("error", "CIFAR-10\nerror %", ".2f"),
    Column("paper", rank=2),
    Column("year", rank=1),
]
ROWS = [
    {"family": "a", "model": "first", "parameters": 1_234_567, "macs": 1_200_040_000, "error": 5.7700000000000005}
    | {"paper": "A | B, \"C\"", "year": 2015},
    {"family": "b", "model": "second[/x]", "parameters": 10, "macs": 50_000, "error": None, "paper": "D", "year": 2016},
]  # fmt: skip


def screen(width, rows=ROWS, columns=COLUMNS, **options):
    """The lines of a table on a terminal of this width."""
    console = rich.console.Console(file=io.StringIO(), width=width, color_system=None)
    console.print(rich_table(rows, columns, width, **options))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_columns_are_left_out_by_rank_until_the_rest_fits():
    assert {"paper", "year"} <= set(screen(80)[1].split())
    heads = screen(55)[1].split()
    assert "paper" not in heads and "year" in heads
    lines = screen(45)
    assert lines[1].split() == ["model", "parameters", "MMACs", "error", "%"]
    assert lines[2].split() == ["first", "1,234,567", "1,200.0", "5.77"]
    assert lines[3].split() == ["second[/x]", "10", "0.1"]  # 0.05 to one digit
    assert all(len(line) <= 45 for line in lines)


def test_a_long_name_is_folded_and_numbers_are_whole():
    name = "x" * 60
    lines = screen(40, [ROWS[0] | {"model": name}])
    assert (
        "1,234,567" in "".join(lines)
        and "".join(word for line in lines for word in line.split() if word[0] == "x") == name
    )


def test_groups_are_headings():
    lines = screen(80, group="family")
    assert [line for line in lines if line in ("a", "b")] == ["a", "b"]


def test_formats_for_programs():
    assert json.loads(format_rows(ROWS, COLUMNS, "json")) == ROWS
    header, first, second = csv.reader(io.StringIO(format_rows(ROWS, COLUMNS, "csv")))
    assert header == ["model", "parameters", "macs", "error", "paper", "year"]
    assert first == ["first", "1234567", "1200040000", "5.77", 'A | B, "C"', "2015"]
    assert format_rows(ROWS, COLUMNS, "tsv").splitlines()[2].split("\t") == second
    markdown = format_rows(ROWS, COLUMNS, "markdown").splitlines()
    assert markdown[0] == "| model | parameters | MMACs | CIFAR-10 error % | paper | year |"
    assert markdown[1] == "| --- | ---: | ---: | ---: | --- | --- |"
    assert markdown[2] == '| first | 1,234,567 | 1,200.0 | 5.77 | A \\| B, "C" | 2015 |'


@pytest.mark.parametrize("form", ["table", "markdown", "tsv", "csv", "json"])
@pytest.mark.parametrize("name", ["[/x]", "[bold]", "a\tb\nc", "\x1b]0;title\x07", "\x9b2J"])
def test_no_name_is_markup_or_moves_the_cursor(capsys, form, name):
    print_rows([{"model": name}], [Column("model")], form)
    text = capsys.readouterr().out
    assert text.replace("\n", "").replace("\t", "").isprintable()
    if form == "json":
        assert json.loads(text) == [{"model": name}]
    else:
        assert printable(name) in text


def test_printable_text_is_kept():
    assert printable("Größe [x] 5 %") == "Größe [x] 5 %"
    assert printable("a\x1b[2J\n") == r"a\x1b[2J\n"
