"""A second set of weights that follows the trained ones, as pure functions on lists of tensors."""

from dataclasses import dataclass

from keras import ops


def moving_average(averages, values, decay):
    """Update exponential moving averages, lists of tensors: `decay * average + (1 - decay) * value`."""
    return [decay * average + (1 - decay) * value for average, value in zip(averages, values, strict=True)]


@dataclass(frozen=True)
class MovingAverage:
    """Exponential moving averages of all weights; training does not use them.

    Attributes:
        decay: The share that an average keeps in one step.
        warmup: Keep `min(decay, (1 + step) / (10 + step))` instead, steps counted from 0, so that the average forgets
            the initial weights: after n steps it holds 9! n! / (n + 9)! of them. The formula is that of
            `tf.train.ExponentialMovingAverage` with `num_updates`.
    """

    decay: float
    warmup: bool = False

    def update(self, averages, values, step):
        """Return new averages and the unchanged values, after the step of this number, counted from 0."""
        decay = self.decay
        if self.warmup:
            done = ops.cast(step, values[0].dtype)
            decay = ops.minimum(ops.convert_to_tensor(decay, done.dtype), (1 + done) / (10 + done))
        return moving_average(averages, values, decay), values


@dataclass(frozen=True)
class Lookahead:
    """Slow weights, to which the trained weights return every few steps.

    Zhang, Lucas, Hinton, Ba: Lookahead Optimizer, https://arxiv.org/abs/1907.08610, with the growing decay of airbench
    (Jordan, https://arxiv.org/abs/2404.00498): every `interval` steps the slow weights keep the share
    decay^interval * (steps done / total)^power of themselves and take the rest from the trained weights.
    BatchNormalization's statistics are averaged likewise.

    Attributes:
        interval: Steps between two returns.
        decay: Per step, at the end of training.
        power: Exponent by which the share grows.
        start: Until this step the slow weights equal the trained ones.
        total: Steps of the whole training.
    """

    interval: int
    decay: float
    power: float
    start: int
    total: int

    def update(self, averages, values, step):
        """Return new slow and new trained weights after the step of this number, counted from 0."""
        done = step + 1
        started = done > self.start
        returns = ops.logical_or(ops.logical_not(started), ops.equal(done % self.interval, 0))
        share = self.decay**self.interval * (ops.cast(done, values[0].dtype) / self.total) ** self.power
        share = ops.where(started, share, ops.zeros_like(share))
        slow, trained = [], []
        for average, value in zip(averages, values, strict=True):
            mean = share * average + (1 - share) * value
            slow.append(ops.where(returns, mean, average))
            trained.append(ops.where(returns, mean, value))
        return slow, trained
