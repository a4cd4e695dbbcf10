"""The weights folder: its manifest, the pages generated from it, and which file `load_weights=True` loads."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from cifarzoo.checksum import sha256
from cifarzoo.errors import WeightsError
from cifarzoo.evaluation.atlas import markdown_page, rows
from cifarzoo.pretrained.manifest import Published, find_entry, read_manifest
from cifarzoo.publishing.cards import card
from cifarzoo.publishing.pages import readme_with_table, results_page
from cifarzoo.runs import atomic, locks

MANIFEST, ANCHORS, LOCK = "manifest.json", "anchors.yaml", ".lock"


class WeightsFolder:
    """Published weights and the pages about them.

    Attributes:
        path: The folder; README.md, RESULTS.md, docs/atlas.md and docs/reports are in its parent.
        manifest_path: The list of published files.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self.manifest_path = self.path / MANIFEST

    def entries(self) -> list[Published]:
        """Return the entries of the manifest.

        Raises:
            WeightsError: there is no manifest, or it is damaged.
        """
        return read_manifest(self.manifest_path)

    def weight_file(self, tag: str) -> Path:
        """Return the path of the weight file of a tag."""
        return self.path / f"{tag}.weights.h5"

    def is_complete(self, entry: Published) -> bool:
        """Whether the weight file of an entry is there and has the recorded content."""
        file = self.weight_file(entry.tag)
        return file.is_file() and sha256(file) == entry.sha256

    def golden_file(self, tag: str) -> Path:
        """Return the path of the file with images and the logits that the published weights give them."""
        return self.path / f"{tag}.golden.npz"

    def log_file(self, tag: str) -> Path:
        """Return the path of the training log that is published with the weights."""
        return self.path / f"{tag}.log.tsv"

    def report_page(self, tag: str) -> Path:
        """Return the path of the report of the published run, a page of the documentation."""
        return self.path.resolve().parent / "docs" / "reports" / f"{tag}.html"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, so that concurrent publishers cannot overwrite each other's entries; waits for the others.

        Raises:
            WeightsError: it is not a folder, or it cannot be written, also inside the block.
        """
        if not self.path.is_dir():
            raise WeightsError(f"{self.path}: not a weights folder (no such folder)")
        try:
            with locks.locked(self.path / LOCK, wait=True):
                yield
        except OSError as failure:
            raise WeightsError(f"{failure.filename or self.path}: {failure.strerror or failure}") from None

    def add(self, entry: Published, preference: Sequence[str] = ()) -> Published:
        """Add an entry to the manifest and update the pages; the folder must be locked.

        Args:
            entry: Describes a file that is already in the folder.
            preference: Recipes, the best first. The entry becomes the default of its network and data set if there is
                none, or if the default's recipe comes later or is not listed and nobody chose it with `prefer`.

        Returns:
            The entry as recorded.

        Raises:
            WeightsError: a page cannot be made; nothing is written then.
        """
        entries = self.entries()

        def rank(candidate):
            recipe = candidate.training["recipe"]
            return preference.index(recipe) if recipe in preference else len(preference)

        default = next((other for other in entries if other.default and _are_rivals(other, entry)), None)
        entry = replace(
            entry, default=default is None or (rank(entry) < rank(default) and not default.chosen), chosen=False
        )
        if entry.default:
            entries = [replace(o, default=False, chosen=False) if _are_rivals(o, entry) else o for o in entries]
        self._write([*entries, entry])
        return entry

    def prefer(self, tag: str) -> None:
        """Make `load_weights=True` load these weights for their network and data set, and update the pages.

        Decide by the 45,000/5,000 split or by a rule fixed beforehand, never by the test error, which would make the
        best of several runs look like one.

        Raises:
            WeightsError: there are no such weights, or no weights folder.
        """
        with self.locked():
            entries = self.entries()
            preferred = find_entry(tag, entries)
            if preferred is None:
                tags = ", ".join(entry.tag for entry in entries)
                raise WeightsError(f"{tag}: not published in {self.path}; there are {tags}")
            entries = [
                replace(entry, default=entry is preferred, chosen=entry is preferred)
                if entry is preferred or _are_rivals(entry, preferred)
                else entry
                for entry in entries
            ]
            self._write(entries)

    def write_pages(self) -> None:
        """Write what is generated from the manifest: the cards, and in the parent folder README's table, RESULTS.md and
        docs/atlas.md.

        Raises:
            WeightsError: there is no manifest, or the README lacks the table's marks; nothing is written then.
        """
        with self.locked():
            self.write_pages_locked()

    def write_pages_locked(self) -> None:
        """Like `write_pages`, in a folder that is already locked."""
        _write_changed(self._pages(self.entries()))

    def _write(self, entries):
        """Write the manifest, then the pages; both are complete in memory before the first is written."""
        entries = sorted(entries, key=lambda entry: (entry.dataset, entry.parameters, entry.tag))
        pages = self._pages(entries)
        atomic.write_text(self.manifest_path, json.dumps([asdict(entry) for entry in entries], indent=2) + "\n")
        _write_changed(pages)

    def _pages(self, entries):
        """Return the generated pages: text by path."""
        pages = {self.path / f"{entry.tag}.md": card(entry) for entry in entries}
        parent = self.path.resolve().parent
        if (anchors := self.path / ANCHORS).is_file():
            pages[parent / "RESULTS.md"] = results_page(entries, anchors)
            if (readme := parent / "README.md").is_file():
                pages[readme] = readme_with_table(readme, entries)
            if (atlas := parent / "docs" / "atlas.md").is_file():
                pages[atlas] = markdown_page(rows(entries))
        return pages


def _are_rivals(entry, other):
    """Whether two entries are different weights of the same network for the same data set."""
    return entry.tag != other.tag and (entry.identity, entry.dataset) == (other.identity, other.dataset)


def _write_changed(pages):
    for path, text in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            atomic.write_text(path, text)
