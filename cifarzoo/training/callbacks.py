"""A run's own Keras callbacks that write: the log and TensorBoard events.

TensorBoard's files are written with the `tensorboard` package alone, so that the JAX engine needs no TensorFlow.
"""

import time
from pathlib import Path

import keras
import yaml

from cifarzoo.experiment.plan import Plan
from cifarzoo.experiment.schema import Experiment
from cifarzoo.keras_internals.model_graph import input_operations
from cifarzoo.runs import atomic
from cifarzoo.runs.folder import RunFolder
from cifarzoo.runs.log_file import begin_log
from cifarzoo.training import hparams
from cifarzoo.training.progress import Progress

COLUMNS = (
    "step",
    "epoch",
    "learning_rate",
    "loss",
    "error",
    "gradient_norm",
    "val_loss",
    "val_error",
    "images_per_second",
    "weight_norm",
    "train_loss",
    "train_error",
)


def default_callbacks(
    folder: RunFolder, experiment: Experiment, plan: Plan, first_step: int, log_length: int
) -> list[keras.callbacks.Callback]:
    """Return the run's own callbacks; a resumed run's log continues after `log_length` bytes.

    If a callback fails, those after it are not called. TensorBoard's comes after the progress bar's, because it writes
    at the end, which fails on a full disk.
    """
    return [
        Log(folder.log_path, plan, log_length),
        Progress(f"{experiment.name} {folder.path.name}", plan, first_step),
        TensorBoard(folder, experiment, plan, first_step),
    ]


class Log(keras.callbacks.Callback):
    """Writes the log: one row per log interval and per validation; errors in percent.

    `loss` (in nats unless it is squared), `error` and `gradient_norm` (before clipping, without weight decay) are means
    over the steps since the last log interval, and `images_per_second` is the rate in the calls of these steps, with
    compilation and without validation. A validation adds `val_loss`, `val_error` and `weight_norm` (the L2 norm of all
    trainable weights), and with `train_metrics: true` also `train_loss` and `train_error`, of the training images
    without augmentation. The losses of validations are in nats.

    Args:
        path: The file.
        plan: The run's plan.
        length: Bytes to keep of an existing file; 0 starts a new one.
    """

    def __init__(self, path: Path, plan: Plan, length: int = 0):
        super().__init__()
        self._path, self._plan = path, plan
        begin_log(path, "\t".join(COLUMNS), length)

    def on_train_batch_end(self, batch, logs=None):
        """Write a row if one is due."""
        step = batch + 1
        if not (self._plan.is_due(self._plan.log, step) or "val_loss" in logs):
            return
        row = {"step": step, "epoch": step * self._plan.batch_size / self._plan.images} | logs
        with self._path.open("a", encoding="utf-8", newline="\n") as file:
            file.write("\t".join(_number(row.get(column)) for column in COLUMNS) + "\n")

    def flush(self) -> int:
        """Flush all rows to disk, before a checkpoint relies on them; returns the length in bytes."""
        atomic.flush(self._path)
        return self._path.stat().st_size


def _number(value):
    return "" if value is None else f"{value:.9g}"


class TensorBoard(keras.callbacks.Callback):
    """Writes TensorBoard's event files: scalars, the experiment as text and in the HParams tab, the layers' graph."""

    TAGS = {
        "loss": "train/loss",
        "error": "train/error",
        "gradient_norm": "train/gradient_norm",
        "learning_rate": "train/learning_rate",
        "images_per_second": "train/images_per_second",
        "val_loss": "val/loss",
        "val_error": "val/error",
        "weight_norm": "train/weight_norm",
        "train_loss": "train_split/loss",
        "train_error": "train_split/error",
    }

    def __init__(self, folder: RunFolder, experiment: Experiment, plan: Plan, first_step: int):
        super().__init__()
        self._folder, self._experiment, self._plan, self._first_step = folder, experiment, plan, first_step

    def on_train_begin(self, logs=None):
        """Open the file; in a resumed run, tell TensorBoard to drop what came after the checkpoint."""
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._event = event_pb2.Event
        resumed = self._folder.has_events  # perhaps from the very first step on
        self._writer = EventFileWriter(str(self._folder.path))
        if resumed:
            start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(self._first_step + 1, session_log=start)
            return
        self._add(0, graph_def=layer_graph(self.model).SerializeToString())
        text = yaml.safe_dump(self._experiment.resolved(), sort_keys=False)
        self._add(0, summary=_text_summary("experiment", "```\n" + text + "```"))
        self._add(0, summary=hparams.start_summary(self._experiment, self._plan))

    def on_train_batch_end(self, batch, logs=None):
        """Write scalars if a log row or a validation is due."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        step = batch + 1
        if not (self._plan.is_due(self._plan.log, step) or "val_loss" in logs):
            return
        values = [Summary.Value(tag=tag, simple_value=logs[key]) for key, tag in self.TAGS.items() if key in logs]
        self._add(step, summary=Summary(value=values))
        self._writer.flush()

    def finish(self, results):
        """Write what the HParams tab shows of a finished run, before its results are written."""
        for summary in hparams.end_summaries(results):
            self._add(results.steps, summary=summary)

    def on_train_end(self, logs=None):
        """Close the file."""
        self._writer.close()

    def _add(self, step, **content):
        self._writer.add_event(self._event(wall_time=time.time(), step=step, **content))


def _text_summary(tag, text):
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
    return Summary(value=[Summary.Value(tag=f"{tag}/text_summary", metadata=metadata, tensor=tensor)])


def layer_graph(model):
    """Return the graph of a functional model's layers as a `GraphDef`, names grouped at their first two underscores."""
    from tensorboard.compat.proto.graph_pb2 import GraphDef
    from tensorboard.compat.proto.node_def_pb2 import NodeDef

    graph = GraphDef()
    for operation in getattr(model, "operations", model.layers):
        inputs = [_grouped(source.name) for source in input_operations(operation)]
        graph.node.append(NodeDef(name=_grouped(operation.name), op=type(operation).__name__, input=inputs))
    return graph


def _grouped(name):
    return "/".join(name.split("_", 2)) if name.startswith("stage") else name
