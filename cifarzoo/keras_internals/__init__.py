"""The only package that uses `keras.src` or private attributes of Keras, TensorFlow and TensorBoard objects.

A test enforces this. Every part registers a probe with `support.internal`, because any Keras release may move what the
part relies on: `supported()` then returns False, and the part steps back to plain Keras with one logged warning.
"""
