"""The layer that trains sampled gates."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("cifarzoo")
class PolicyGradient(keras.layers.Layer):
    """Pass logits unchanged, and give sampled gates the gradient of the expected loss plus the price of open gates.

    Wang, Yu, Dou, Darrell, Gonzalez: SkipNet, https://arxiv.org/abs/1711.09485, section 3.2 (hybrid reinforcement
    learning). With gates g drawn per image, the objective is the mean over images of E_g[L + cost * (number of open
    gates)], where L is the cross-entropy of the image. With `cost` equal to the paper's reward alpha / N for a skipped
    block, it is the paper's objective up to a constant. The gradient for gate i is the gradient of log p(g_i) times
    L + cost * (number of open gates from i on) - baseline: REINFORCE with reward to go. Everything that L itself
    depends on gets its ordinary gradient.

    Two deviations. The paper may weight L less in the reward; here the weight is 1, and the gradient is that of the
    objective. And the other images provide a baseline: the mean of their prices to go plus the mean entropy of their
    predicted classes, which for a calibrated network is what L averages to. It reduces noise without changing the
    expected gradient. Where BatchNormalization lets images see each other's gates, that part of the gradient is left
    out, as in the paper.

    The layer needs no labels. It adds (log p(g) - stop_gradient(log p(g))) * log q to the logits, which is zero; q are
    the predicted probabilities. The cross-entropy of labels y has the gradient q - y with respect to the logits, hence
    sum((q - y) * log q) = L - entropy(q) with respect to log p(g), and an added loss gives the entropy back. So the
    layer works under any training that minimizes the mean cross-entropy of a softmax over these logits, smoothed and
    mixed labels included, and under no other.

    Args:
        cost: Price of an open gate.

    Call arguments:
        inputs: Logits [batch, classes], the gates' probabilities to be open [batch, gates] and their decisions, 0 or 1
            [batch, gates], both in the order in which the gates decide.
        training: Whether to train the gates.

    Returns:
        The logits. The value of the added loss is the mean price of the batch.
    """

    def __init__(self, cost, **kwargs):
        super().__init__(**kwargs)
        self.cost = cost

    def call(self, inputs, training=False):
        """Return the logits."""
        logits, probabilities, gates = inputs
        if not training:
            return logits
        # Clipped, because a probability of exactly 0 or 1 would give the logarithm of zero.
        p = ops.clip(probabilities, 1e-6, 1 - 1e-6)
        log_p = gates * ops.log(p) + (1 - gates) * ops.log(1 - p)
        total = ops.sum(log_p, axis=-1, keepdims=True)
        log_q = ops.stop_gradient(ops.log_softmax(logits))
        entropy = -ops.sum(ops.exp(log_q) * log_q, axis=-1, keepdims=True)
        price = self.cost * ops.flip(ops.cumsum(ops.flip(gates, axis=-1), axis=-1), axis=-1)
        advantage = ops.stop_gradient(price - _mean_of_others(price) + entropy - _mean_of_others(entropy))
        policy = ops.mean(ops.sum(advantage * log_p, axis=-1))
        self.add_loss(self.cost * ops.mean(ops.sum(gates, axis=-1)) + policy - ops.stop_gradient(policy))
        return logits + (total - ops.stop_gradient(total)) * log_q

    def compute_output_shape(self, input_shape):
        """Return the shape of the logits."""
        return input_shape[0]

    def get_config(self):
        """Return the constructor's arguments."""
        return super().get_config() | {"cost": self.cost}


def _mean_of_others(x):
    """Return for each image the mean of `x` [batch, ...] over the other images, or zero if it is alone."""
    others = ops.maximum(ops.shape(x)[0] - 1, 1)
    return (ops.sum(x, axis=0, keepdims=True) - x) / ops.cast(others, x.dtype)
