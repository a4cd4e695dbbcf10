"""The architectures, one file per family, and the registry that finds them by name."""
