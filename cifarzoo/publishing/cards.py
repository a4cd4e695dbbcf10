"""One Markdown card per published weight file, generated from its manifest entry."""

import yaml

from cifarzoo.models import registry
from cifarzoo.models.catalogue import call
from cifarzoo.pretrained.manifest import Published
from cifarzoo.publishing.model_index import front_matter
from cifarzoo.runs.provenance import AND


def card(entry: Published, usage: str = "") -> str:
    """Return the card: metadata for programs, how to load the file, what was measured, how it was trained.

    Args:
        entry: The published file.
        usage: Markdown before the lines that load it with cifarzoo.
    """
    training, metrics = entry.training, entry.metrics
    # Not load_weights=True, which loads another file once a better one is published.
    arguments = entry.architecture | {"classes": entry.classes, "load_weights": entry.tag}
    config = yaml.safe_dump(training["experiment"], sort_keys=False)
    versions = ", ".join(f"{name} {version}" for name, version in training["versions"].items())
    registered = registry.get(entry.model)
    remark = f". {entry.remark}" if entry.remark else "; the test images decided nothing."
    revision = AND.join(_revision(revision) for revision in (training["revision"] or "unknown").split(AND))
    usage = f"\n{usage}" if usage else ""
    return f"""{front_matter(entry)}
# {entry.tag}
{usage}
    from cifarzoo import {entry.model}
    model = {call(entry.model, arguments)}

{registered.paper} ({registered.year}). Takes raw pixels (uint8 or 0-255), returns logits.

| measured from this file on {metrics["n"]:,} test images of {entry.dataset} | |
| --- | ---: |
| error | {metrics["error"]:.2f} % |
| top-5 error | {metrics["top5_error"]:.2f} % |
| negative log-likelihood | {metrics["nll"]:.4f} nats |
| Brier score | {metrics["brier"]:.4f} |
| expected calibration error, 15 bins | {metrics["ece"]:.4f} |
| parameters | {entry.parameters:,} |
| file | {entry.bytes:,} bytes, sha256 `{entry.sha256}` |

The error is that of the {training["weights"]} of one training run with seed {training["seed"]}{remark}

The model normalizes its input with mean {entry.preprocessing["mean"]} and standard deviation
{entry.preprocessing["std"]}.

Trained for {training["steps"]:,} steps ({training["images"]:,} images) in {duration(training["seconds"])} on
{training["device"]} with the {training["backend"]} engine ({versions}), revision {revision}:

```yaml
{config}```

License of the weights: {entry.license}.
"""


def duration(seconds: float) -> str:
    """Format a training time for people: in seconds below ten minutes, in minutes above."""
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds:.0f} s"


def _revision(revision):
    changes = " with uncommitted changes" if revision.endswith("+changes") else ""
    return f"`{revision.removesuffix('+changes')}`{changes}"
