"""Import TensorFlow without its messages about oneDNN, CUDA and absl, on which a user cannot act.

TensorFlow 2.21 prints up to nine lines before it reads `TF_CPP_MIN_LOG_LEVEL`. They go straight to file descriptor 2,
and so appear in notebooks, too. `install` redirects that descriptor while any module imports TensorFlow, and while
TensorFlow first looks for devices (`quiet_devices`). `CIFARZOO_DEBUG=1` and `--debug` show everything.

`import cifarzoo` imports this module, so it imports almost nothing itself.
"""

import os
import sys

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Part of a warning about distribution strategies on which users of the runner cannot act.
ADVICE = "eagerly has significant overhead currently"


def debugging() -> bool:
    """Whether `CIFARZOO_DEBUG` is set to anything except "" and "0"."""
    return os.environ.get("CIFARZOO_DEBUG", "0") not in ("", "0")


def install() -> None:
    """Hide TensorFlow's start-up messages from now on, unless `CIFARZOO_DEBUG` is set."""
    if debugging():
        return
    os.environ.setdefault(LEVEL, "2")  # hides what TensorFlow logs later
    if "tensorflow" in sys.modules:
        _loaded()
    elif not any(isinstance(finder, QuietFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, QuietFinder())


def uninstall() -> None:
    """Show TensorFlow's messages again; has an effect only before TensorFlow is imported."""
    os.environ["CIFARZOO_DEBUG"] = "1"  # for child processes
    os.environ.pop(LEVEL, None)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, QuietFinder)]


class QuietFinder:
    """Finds TensorFlow through the other finders, and wraps its loader to redirect file descriptor 2."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        """Return TensorFlow's specification with a `QuietLoader`; None for every other module."""
        if name != "tensorflow":
            return None
        for finder in sys.meta_path:
            if isinstance(finder, QuietFinder) or not hasattr(finder, "find_spec"):
                continue
            if spec := finder.find_spec(name, path, target):
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = QuietLoader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class QuietLoader:
    """Runs a module quietly with another loader, and then restores that loader."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def exec_module(self, module):
        """Run the module."""
        from cifarzoo.keras_internals.redirection import quiet

        module.__loader__ = module.__spec__.loader = self._loader
        with quiet():
            self._loader.exec_module(module)
        _loaded()


def _loaded():
    import logging

    from cifarzoo.keras_internals.quiet_devices import hide_search

    hide_search()
    logging.getLogger("tensorflow").addFilter(lambda record: ADVICE not in record.getMessage())
