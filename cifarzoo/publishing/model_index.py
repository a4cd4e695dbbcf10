"""What a card says to programs: YAML front matter as the Hugging Face Hub reads it, with results as a `model-index`.

https://huggingface.co/docs/hub/model-cards#model-card-metadata; https://github.com/paperswithcode/model-index.
"""

from typing import Any

import yaml

from cifarzoo.pretrained.manifest import Published

# The Hub's names of the data sets, and how people call them.
DATASETS = {
    "cifar10": ("uoft-cs/cifar10", "CIFAR-10"),
    "cifar100": ("uoft-cs/cifar100", "CIFAR-100"),
    "cifar100_coarse": ("uoft-cs/cifar100", "CIFAR-100, superclasses"),
}


def front_matter(entry: Published) -> str:
    """Return the metadata of a published file, with the lines `---` around it.

    Accuracies are from 0 to 1, as the Hub's metrics have them.
    """
    hub_name, name = DATASETS.get(entry.dataset, (entry.dataset, entry.dataset))
    task = {"type": "image-classification", "name": "Image Classification"}
    dataset = {"type": hub_name, "name": name, "split": "test"}
    result = {"task": task, "dataset": dataset, "metrics": _metrics(entry.metrics)}
    metadata = {
        "library_name": "keras",
        "license": entry.license.lower(),
        "pipeline_tag": "image-classification",
        "tags": ["cifarzoo", "keras", entry.dataset, entry.model],
        **({"datasets": [hub_name]} if entry.dataset in DATASETS else {}),
        "metrics": ["accuracy"],
        "model-index": [{"name": entry.tag, "results": [result]}],
    }
    return f"---\n{yaml.safe_dump(metadata, sort_keys=False)}---\n"


def _metrics(metrics: dict[str, float]) -> list[dict[str, Any]]:
    values = {
        "accuracy": ("Accuracy", 1 - metrics["error"] / 100),
        "top_5_accuracy": ("Top-5 accuracy", 1 - metrics["top5_error"] / 100),
        "nll": ("Negative log-likelihood, nats", metrics["nll"]),
        "brier_score": ("Brier score", metrics["brier"]),
        "ece": ("Expected calibration error, 15 bins", metrics["ece"]),
    }
    return [{"type": kind, "name": name, "value": round(value, 6)} for kind, (name, value) in values.items()]
