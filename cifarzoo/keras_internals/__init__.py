"""Everything that touches Keras' private parts. No other package may import `keras.src` or read a private attribute."""
