"""What TensorBoard's HParams tab shows of a run: the settings that its file varies, and its final metrics.

The messages are those of TensorBoard's plugin, without its functions that write them, which need TensorFlow.
"""

import json
import time
from typing import Any

from cifarzoo.experiment.optimizers import KerasParameters
from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.runs.results import Results


def hyperparameters(experiment: Experiment, plan: Plan) -> dict[str, Any]:
    """Return what identifies a run in a grid: numbers, text and booleans by key.

    These are model, data set, batch size, optimizer, its weight decay unless it is the default of a class of Keras,
    steps, highest learning rate and precision, and every key that the document's `grid` sets, without
    "train_parameters." in front. Lists and mappings become JSON.
    """
    parameters = experiment.train_parameters
    optimizer = parameters.optimizer
    if isinstance(optimizer, KerasParameters):
        decay = optimizer.arguments.get("weight_decay")
    else:
        decay = (optimizer or parameters).weight_decay
    values: dict[str, Any] = {
        "model": experiment.model,
        "dataset": experiment.dataset_name,
        "batch_size": parameters.batch_size,
        "optimizer": optimizer.name if optimizer else "SGD",
        **({} if decay is None else {"weight_decay": decay}),
        "steps": plan.total,
        "learning_rate": float(max(plan.rates(0, plan.total))),
        "precision": experiment.precision,
    }
    document = experiment.model_dump(mode="json")
    for key in experiment.varied:
        value: Any = document
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        plain = value if isinstance(value, bool | int | float | str) else json.dumps(value)
        values[key.removeprefix("train_parameters.")] = plain
    return values


def start_summary(experiment: Experiment, plan: Plan) -> Any:
    """Return the summary that begins a run's session; the seeds of an experiment form one group."""
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(group_name=experiment.name, start_time_secs=time.time())
    for key, value in hyperparameters(experiment, plan).items():
        kind = "bool_value" if isinstance(value, bool) else "string_value" if isinstance(value, str) else "number_value"
        setattr(start.hparams[key], kind, value)
    return _summary(metadata.SESSION_START_INFO_TAG, session_start_info=start)


def end_summaries(results: Results) -> list[Any]:
    """Return the summaries that end a run's session: its final error in percent and loss in nats, and success."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    values = {"final/error": results.metrics["error"], "final/loss": results.metrics["nll"]}
    scalars = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
    return [scalars, _summary(metadata.SESSION_END_INFO_TAG, session_end_info=end)]


def _summary(tag: str, **content: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    described = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])
