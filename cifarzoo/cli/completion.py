"""What the shell offers for the arguments of commands, after `cifarzoo --install-completion`.

Where nothing fits, the shell offers files, so names of files complete as well.
"""

from collections.abc import Iterable


def complete_network(incomplete: str) -> list[str]:
    """Return the models, the tags of published weights and other projects' checkpoints that begin with a text."""
    from cifarzoo.models.catalogue import catalogue

    return [*_starting(incomplete, catalogue()), *complete_tag(incomplete), *complete_checkpoint(incomplete)]


def complete_tag(incomplete: str) -> list[str]:
    """Return the tags of published weights that begin with a text."""
    from cifarzoo.pretrained.manifest import manifest

    return _starting(incomplete, (entry.tag for entry in manifest()))


def complete_checkpoint(incomplete: str) -> list[str]:
    """Return other projects' checkpoints, SOURCE/NAME, once the text has the source; before, the sources."""
    from cifarzoo.conversion.entries import entries

    if "/" in incomplete:
        return _starting(incomplete, entries())
    return _starting(incomplete, dict.fromkeys(f"{entry.source}/" for entry in entries().values()))


def complete_experiments(incomplete: str) -> list[str]:
    """Return the files of experiments that come with cifarzoo, as `@NAME`."""
    from cifarzoo.experiment.shipped import MARK, shipped_files

    return _starting(incomplete, (f"{MARK}{name}" for name in shipped_files())) if incomplete else []


def complete_shown(incomplete: str) -> list[str]:
    """Return what `cifarzoo show` describes."""
    return [*complete_network(incomplete), *complete_experiments(incomplete)]


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
