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


def heading(metrics: dict) -> str:
    """Describe which weights were measured, on which images."""
    dataset = f" of {metrics['dataset']}" if metrics["dataset"] else ""
    return f"{metrics['weights']} on the {metrics['split']} images{dataset}"


def collapse_note(metrics: dict) -> str:
    """Explain why a network may be hardly better than chance and predict one class for most images; "" if it is not so.

    Either its inputs differ from those it was trained on, or its weights are not trained.
    """
    classes = list(metrics["class_error"])
    if metrics["error"] < 100 - 150 / len(classes):  # 85 % of 10 classes
        return ""
    predicted = [sum(column) for column in zip(*metrics["confusion"], strict=True)]
    most = max(range(len(classes)), key=predicted.__getitem__)
    share = predicted[most] / metrics["n"]
    if share <= 0.5:
        return ""
    return (
        f"{100 * share:.0f} % of the images are predicted as {classes[most]}: the weights are not trained, or the "
        "network expects inputs other than pixels from 0 to 255, for example from 0 to 1 or standardized"
    )


def as_markdown(metrics: dict) -> str:
    """Format all metrics as Markdown, except the confusion matrix, which JSON and the picture show."""
    members = []
    for name, member in metrics.get("members", {}).items():
        members.append(f"| {name} | {member['error']:.2f} | {member['nll']:.4f} |")
    if members:
        members = ["| member | error % | NLL |", "| --- | ---: | ---: |", *members, ""]
    table = ["| metric | value |", "| --- | ---: |", *(f"| {label} | {value} |" for label, value in as_rows(metrics))]
    classes = ["| class | error % |", "| --- | ---: |"]
    classes += [
        f"| {name} | {'' if error is None else f'{error:.2f}'} |" for name, error in metrics["class_error"].items()
    ]
    return "\n".join([heading(metrics), "", *members, *table, "", temperature_note(metrics), "", *classes])
