"""Import TensorFlow without its messages about oneDNN, CUDA and absl, which say nothing that a user can act on.

TensorFlow 2.21 prints up to nine lines before it reads `TF_CPP_MIN_LOG_LEVEL`, straight to file descriptor 2 and thus
also into notebooks. `install` redirects that descriptor while TensorFlow is imported, by whomever, and while it first
looks for devices (`quiet_devices`). `CIFARZOO_DEBUG=1` and `--debug` show everything.

`import cifarzoo` imports this module, so it imports next to nothing itself.
"""

import os
import sys

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# Of a warning about distribution strategies that no user of the runner can follow.
ADVICE = "eagerly has significant overhead currently"


def debugging() -> bool:
    """Whether `CIFARZOO_DEBUG` asks to see everything; "" and "0" do not."""
    return os.environ.get("CIFARZOO_DEBUG", "0") not in ("", "0")


def install() -> None:
    """Hide TensorFlow's start-up messages from now on, unless `CIFARZOO_DEBUG` is set."""
    if debugging():
        return
    os.environ.setdefault(LEVEL, "2")  # for what it logs later
    if "tensorflow" in sys.modules:
        _loaded()
    elif not any(isinstance(finder, QuietFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, QuietFinder())


def uninstall() -> None:
    """Let TensorFlow say everything; works until it is imported."""
    os.environ["CIFARZOO_DEBUG"] = "1"  # for processes that this one starts
    os.environ.pop(LEVEL, None)
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, QuietFinder)]


class QuietFinder:
    """Finds TensorFlow where the other finders do, and gives it a loader that redirects file descriptor 2."""

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
    """Runs a module with another loader, quietly, and then leaves the module to it."""

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
