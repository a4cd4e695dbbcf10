"""Color jitter: change brightness, contrast, saturation and hue by random amounts, drawn per image."""

from keras import ops

from cifarzoo.augment import spec

LUMA = (0.299, 0.587, 0.114)


def jitter(parameters: spec.ColorJitter, images, labels, draws, dataset):
    """Jitter a batch; the result is float32 (0-255, not rounded)."""
    numbers = ops.expand_dims(draws.uniform(4), (2, 3))
    x = ops.cast(images, "float32")
    if parameters.brightness:
        x = _towards(0.0, x, _factor(numbers[:, 0:1], parameters.brightness))
    if parameters.contrast:
        gray = ops.mean(luma(x), axis=(1, 2, 3), keepdims=True)
        x = _towards(gray, x, _factor(numbers[:, 1:2], parameters.contrast))
    if parameters.saturation:
        x = _towards(luma(x), x, _factor(numbers[:, 2:3], parameters.saturation))
    if parameters.hue:
        x = turn_hue(x, (numbers[:, 3] * 2 - 1) * parameters.hue)
    return x, labels


def _factor(number, strength):
    low = max(0.0, 1 - strength)
    return low + number * (1 + strength - low)


def _towards(degenerate, x, factor):
    return ops.clip(degenerate + factor * (x - degenerate), 0.0, 255.0)


def luma(x):
    """Return the ITU-R 601 luma of float32 [batch, height, width, 3]: [batch, height, width, 1]."""
    return x[..., 0:1] * LUMA[0] + x[..., 1:2] * LUMA[1] + x[..., 2:3] * LUMA[2]


def turn_hue(x, turn):
    """Turn the hue of float32 [batch, height, width, 3] by `turn`, [batch, 1, 1] in parts of the HSV color circle."""
    red, green, blue = x[..., 0], x[..., 1], x[..., 2]
    value = ops.maximum(ops.maximum(red, green), blue)
    chroma = value - ops.minimum(ops.minimum(red, green), blue)
    safe = ops.where(chroma > 0, chroma, 1.0)
    sixth = ops.where(
        ops.equal(value, red),
        (green - blue) / safe,
        ops.where(ops.equal(value, green), 2.0 + (blue - red) / safe, 4.0 + (red - green) / safe),
    )
    sixth = sixth + 6.0 * turn

    def channel(offset):
        k = ops.mod(offset + sixth, 6.0)
        return value - chroma * ops.clip(ops.minimum(k, 4.0 - k), 0.0, 1.0)

    return ops.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)
