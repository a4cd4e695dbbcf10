"""The gallery: what every augmentation does, with its parameters, and its picture."""

import inspect
import re

from cifarzoo.augment.spec import PIPELINES, SPECS

POLICIES = "[[[Invert, 0.1, 0.7], [Contrast, 0.2, 0.6]], ...]"  # what is drawn: AutoAugment's, of recipes/policies
HEADER = """# Augmentation gallery

Ten test images of CIFAR-10, one of each class:

![Ten test images](figures/gallery/original.webp){ .strip }

Below, they are augmented as in the first two steps of training with seed 0. [Augmentation](augmentation.md) explains
entries, pipelines and policies. To see your own images: `cifarzoo augment --preview '[crop, flip]' out.png`.

"""


def page() -> str:
    """Return the text of the page."""
    entries = [_entry(name, spec) for name, spec in SPECS.items()]
    named = [_pipeline(name, list_) for name, list_ in PIPELINES.items() if name != "none" and name not in SPECS]
    return HEADER + "## Entries\n\n" + "\n\n".join(entries) + "\n\n## Pipelines\n\n" + "\n\n".join(named) + "\n"


def _entry(name, spec):
    about = re.sub(r"(?<!\]\()(?<!<)(https://[^\s,)]*[^\s,).])", r"<\1>", inspect.getdoc(spec) or "")
    fields = {key: field.default for key, field in spec.model_fields.items()}
    if name == "policies":
        fields |= {"policies": POLICIES}
    defaults = ", ".join(f"{key}: {_plain(value)}" for key, value in fields.items())
    written = f"{{{name}: {{{defaults}}}}}" if defaults else name
    pipeline = PIPELINES.get(name)
    note = f"\n\nThe pipeline of this name is `[{', '.join(pipeline)}]`." if pipeline else ""
    return f"### {name}\n\n{about}\n\n`{written}`{note}\n\n{_picture(name)}"


def _pipeline(name, entries):
    return f"### {name}\n\n`[{', '.join(entries)}]`\n\n{_picture(name)}"


def _picture(name):
    return f"![Images after {name}](figures/gallery/{name}.webp){{ .strip }}"


def _plain(value):
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
