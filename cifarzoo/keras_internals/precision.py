"""Build and trace a model in float32, bfloat16 or float64."""

import contextlib

from cifarzoo.errors import ExperimentError
from cifarzoo.keras_internals.support import internal, private_module

POLICIES = {"bfloat16": "mixed_bfloat16"}


@internal("float64", without="precision float64 works on TensorFlow only")
def supported() -> bool:
    """Whether Keras' table of result types can be told to keep float64."""
    return _result_types()["float64"] in ("float32", "float64")


def _result_types():
    return private_module("backend.common.dtypes").BIT64_TO_BIT32_DTYPE


@contextlib.contextmanager
def arithmetic(precision: str):
    """Build and trace in a precision: "float32", "bfloat16" (with float32 variables) or "float64".

    Raises:
        ExperimentError: float64 on another backend than TensorFlow, and this Keras version cannot do it.
    """
    import keras

    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    with _float64_results() if precision == "float64" else contextlib.nullcontext():
        try:
            keras.config.set_dtype_policy(POLICIES.get(precision, precision))
            if precision == "float64":
                keras.config.set_floatx("float64")
            yield
        finally:
            keras.config.set_dtype_policy(policy)
            keras.config.set_floatx(floatx)


@contextlib.contextmanager
def _float64_results():
    """Let operations on float64 return float64.

    On backends other than TensorFlow, Keras' table of result types turns float64 into float32, so BatchNormalization
    and means would round what float64 runs are there to compare.
    """
    import keras

    if keras.backend.backend() == "tensorflow":
        yield
        return
    if not supported():
        raise ExperimentError(
            f"precision: float64 needs backend: tensorflow with Keras {keras.__version__}, "
            f"whose {keras.backend.backend()} backend rounds float64 to float32"
        )
    table = _result_types()
    kept, table["float64"] = table["float64"], "float64"
    try:
        yield
    finally:
        table["float64"] = kept
