"""BatchNormalization with statistics per group of images."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("cifarzoo")
class GhostBatchNormalization(keras.layers.BatchNormalization):
    """Normalize each group of a batch's images separately: the noise of small batches within large ones.

    Hoffer, Hubara, Soudry: Train longer, generalize better, https://arxiv.org/abs/1705.08741, section 4. Once per step,
    as in cifar10-fast, the moving statistics follow the groups' means and variances, each averaged over the groups. At
    inference this is BatchNormalization.

    Args:
        group_size: Images per group; a group is consecutive images. A batch that does not divide into groups of this
            size is one group. On several replicas in TensorFlow the batch is a replica's share, and the moving
            statistics follow all replicas.
        **kwargs: Those of `keras.layers.BatchNormalization`, except `renorm` and `synchronized`; `axis` must be -1.

    Call arguments:
        inputs: A tensor, [batch, ..., channels].
        training: Whether to normalize by the batch's own statistics.

    Raises:
        ValueError: `group_size` is not a positive integer, `axis` is not -1, or `renorm` or `synchronized` is set.
    """

    def __init__(self, group_size=32, **kwargs):
        for name in ("renorm", "synchronized"):
            if kwargs.get(name):
                raise ValueError(f"{name} has no meaning for groups of a batch")
        super().__init__(**kwargs)
        self.supports_masking = False
        if not isinstance(group_size, int) or group_size < 1:
            raise ValueError(f"group_size must be a positive integer, got {group_size!r}")
        if self.axis != -1:
            raise ValueError(f"axis must be -1, the last one, got {self.axis!r}")
        self.group_size = group_size

    def call(self, inputs, training=None):
        """Return the normalized tensor, in the shape and dtype of the inputs."""
        if not (training and self.trainable):
            return super().call(inputs, training=False)
        shape = ops.shape(inputs)
        divides = shape[0] % self.group_size == 0
        groups = shape[0] // self.group_size if divides is True else 1
        if not isinstance(divides, bool):  # the batch size is known only when the compiled function runs
            groups = ops.where(divides, shape[0] // self.group_size, 1)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, self.variable_dtype, "float32"))
        x = ops.reshape(x, (groups, -1, *shape[1:]))
        mean, variance = ops.moments(x, axes=list(range(1, len(shape))), keepdims=True)
        self.update_moving_statistics(*(ops.reshape(ops.mean(value, axis=0), (-1,)) for value in (mean, variance)))
        scale = ops.rsqrt(variance + self.epsilon)
        if self.scale:
            scale = scale * self.gamma
        shift = -mean * scale
        if self.center:
            shift = shift + self.beta
        return ops.cast(ops.reshape(x * scale + shift, shape), inputs.dtype)

    def update_moving_statistics(self, mean, variance):
        """Blend a batch's mean and variance, float [channels], into the moving statistics."""
        for variable, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
            variable.assign(variable * self.momentum + ops.cast(value, variable.dtype) * (1 - self.momentum))

    def get_config(self):
        """Return the constructor's arguments."""
        return super().get_config() | {"group_size": self.group_size}
