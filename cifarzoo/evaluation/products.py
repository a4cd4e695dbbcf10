"""Products in whole float32, also on GPUs, where measurements would else be those of a coarser number."""

import contextlib


@contextlib.contextmanager
def whole_products():
    """While active, float32 products are float32's, not TensorFloat-32's, which GPUs take by themselves."""
    import keras

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        with jax.default_matmul_precision("highest"):
            yield
    elif backend == "tensorflow":
        from tensorflow.config import experimental

        kept = experimental.tensor_float_32_execution_enabled()
        experimental.enable_tensor_float_32_execution(False)
        try:
            yield
        finally:
            experimental.enable_tensor_float_32_execution(kept)
    else:  # torch, the only other backend that can predict
        import torch

        if not torch.cuda.is_available():
            yield
            return
        kept, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
        try:
            yield
        finally:
            torch.backends.cudnn.allow_tf32 = kept
