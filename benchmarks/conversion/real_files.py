"""Check the reference networks: with published weights they have the published errors.

Usage: python benchmarks/conversion/real_files.py FOLDER, where FOLDER has the files listed below.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from foreign_files import fill_from_keras_checkpoint, fill_from_lasagne
from references import STATISTICS, normalized
from torch_networks import Zeros, keras_resnet, lasagne_resnet, resnet

from cifarzoo import load_data


def from_torch(network, path):
    content = torch.load(path, map_location="cpu", weights_only=False)["state_dict"]
    network.load_state_dict({name.removeprefix("module."): tensor for name, tensor in content.items()})
    return network.eval()


def akamaster(depth):
    return resnet(depth, 10, shortcut=Zeros, shortcut_name="shortcut", classifier="linear")


# File, network, how to fill it, input statistics, published error in percent.
FILES = [
    ("akamaster_resnet20-12fca82f.th", lambda: akamaster(20), from_torch, "imagenet", 8.27),
    ("akamaster_resnet32-d509ac18.th", lambda: akamaster(32), from_torch, "imagenet", 7.37),
    ("akamaster_resnet56-4bfd9763.th", lambda: akamaster(56), from_torch, "imagenet", 6.61),
    ("distiller_dense.pth.tar", lambda: resnet(20, 10), from_torch, "half", 8.22),
    ("sjmikler_resnet20.tf", lambda: keras_resnet(20, 10, "original"), fill_from_keras_checkpoint, "kuangliu", 7.99),
    ("sjmikler_resnet32.tf", lambda: keras_resnet(32, 10, "original"), fill_from_keras_checkpoint, "kuangliu", 7.40),
    ("lasagne_n5.npz", lambda: lasagne_resnet(32, 10), fill_from_lasagne, "pixel mean", 7.42),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    data = load_data("cifar10")
    images, labels = data.test.images, data.test.labels
    statistics = STATISTICS | {"pixel mean": (data.train.images.mean(axis=0, dtype="float64") / 255, 1.0)}
    for name, build, fill, constants, published in FILES:
        network = fill(build(), folder / name)
        with torch.no_grad():
            batches = [network(normalized(images[i : i + 500], statistics[constants])) for i in range(0, 10_000, 500)]
        error = 100 * np.mean(torch.cat(batches).argmax(dim=1).numpy() != labels)
        print(f"{name:36} {error:6.2f} % here, {published:5.2f} % published", flush=True)


if __name__ == "__main__":
    main()
