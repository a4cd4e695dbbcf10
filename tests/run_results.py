"""The results of a finished run, as `results.json` holds them."""

RESULTS = {
    "name": "net",
    "seed": 3,
    "model": "cifar_resnet20",
    "dataset": "cifar10",
    "train_split": "train",
    "steps": 20,
    "images": 2560,
    "test": {"error": 50.0, "nll": 1.5, "n": 10000},
    "weights": "last step",
    "parameters": 272474,
    "seconds": 60.5,
    "images_per_second": 42.3,
    "fingerprint": "f",
    "revision": None,
    "versions": {"keras": "3.15.1"},
    "backend": "jax",
    "device": "CPU",
}
