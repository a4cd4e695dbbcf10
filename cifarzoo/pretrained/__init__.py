"""Published weights: the manifest, files and their hashes, loading into models."""
