"""Format the metrics of a split as text: table rows, Markdown, and a note on the temperature.

The functions take what `Predictions.describe` returns. No Keras is needed.
"""

METRIC_LABELS = {"error": "error %", "top5_error": "top-5 error %", "nll": "NLL", "brier": "Brier", "ece": "ECE"}
# Only networks with gates have these.
GATE_LABELS = {
    "computation_percent": "computation %",
    "macs_mean": "MACs, mean",
    "macs_saved_percent": "MACs saved %",
}


def as_rows(metrics: dict) -> list[tuple[str, str]]:
    """Format the metrics as rows of label and value."""
    rows = [("images", f"{metrics['n']:,}")]
    rows += [
        (label, f"{metrics[key]:.2f}" if "%" in label else f"{metrics[key]:.4f}")
        for key, label in METRIC_LABELS.items()
    ]
    if "images_per_second" in metrics:
        rows.append(("images/s", f"{metrics['images_per_second']:,.0f}"))
    rows += [
        (label, f"{metrics[key]:,.{1 if '%' in label else 0}f}") for key, label in GATE_LABELS.items() if key in metrics
    ]
    if temperature := metrics["temperature"]:
        rows.append(("temperature", f"{temperature['value']:.4f}"))
        rows += [(f"{key.upper()} after temperature", f"{temperature[key]:.4f}") for key in ("nll", "ece")]
    return rows


def temperature_note(metrics: dict) -> str:
    """Explain how far to trust the temperature: which images it was fitted on, and whether they were trained on."""
    if not metrics["temperature"]:
        return "No temperature: there are no logits of the validation images."
    trained = {
        True: "the network was trained on these images and is usually surer of them than of new ones, so expect "
        "the temperature to be too low",
        False: "they were held out from training",
        None: "whether the network was trained on them is not known",
    }[metrics["temperature"]["trained_on_them"]]
    same = "; they are also the images measured here" if metrics["split"] == "validation" else ""
    return f"Temperature fitted on {metrics['temperature']['fitted_on']}: {trained}{same}."


def as_markdown(metrics: dict) -> str:
    """Format all metrics as Markdown, except the confusion matrix, which JSON and the picture show."""
    dataset = f" of {metrics['dataset']}" if metrics["dataset"] else ""
    table = ["| metric | value |", "| --- | ---: |", *(f"| {label} | {value} |" for label, value in as_rows(metrics))]
    classes = ["| class | error % |", "| --- | ---: |"]
    classes += [
        f"| {name} | {'' if error is None else f'{error:.2f}'} |" for name, error in metrics["class_error"].items()
    ]
    heading = f"{metrics['weights']} on the {metrics['split']} images{dataset}"
    return "\n".join([heading, "", *table, "", temperature_note(metrics), "", *classes])
