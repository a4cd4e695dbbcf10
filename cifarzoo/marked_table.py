"""Replace a generated table between two marks of a page that people write."""

from pathlib import Path

from cifarzoo.errors import CifarzooError


def with_table(page: Path, marks: tuple[str, str], table: str, error: type[CifarzooError] = CifarzooError) -> str:
    """Return the text of a page with a new table between its marks.

    Raises:
        error: a mark is missing.
    """
    before, begin, rest = page.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise error(f"{page}: the marks {' and '.join(marks)} are missing")
    return f"{before}{begin}\n{table}\n{end}{after}"
