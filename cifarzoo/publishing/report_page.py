"""The report of a published run, which the site links from the page of its tag."""

from pathlib import Path

from cifarzoo.evaluation.evaluate import Progress
from cifarzoo.evaluation.report import write_report
from cifarzoo.evaluation.subject import of_tag
from cifarzoo.pretrained.manifest import Published
from cifarzoo.publishing.weights_folder import WeightsFolder


def write_report_page(
    entry: Published,
    weights: WeightsFolder,
    data_dir: str | None = None,
    progress: Progress = lambda step, done: None,
) -> Path | None:
    """Write docs/reports/TAG.html, if the weights folder lies in a checkout with such pages.

    Args:
        entry: The published weights.
        weights: Their folder.
        data_dir: Folder of the archives.
        progress: See `write_report`.

    Returns:
        The page; None if there is no place for it.

    Raises:
        CifarzooError: a package for pictures, or the data set, is missing; or the page cannot be written.
    """
    page = weights.report_page(entry.tag)
    if not page.parent.is_dir():
        return None
    return write_report(of_tag(entry, weights.path), page, data_dir, progress=progress)
