"""Write PyTorch networks in the formats in which other projects publish theirs, and fill networks from such files."""

import re
from pathlib import Path

import numpy as np
import torch
from torch import nn


def save_torch(path, network, legacy=False, prefix="", around=None):
    """Save the state dict, in the format before PyTorch 1.6 if `legacy`; `around` puts it into a larger dictionary."""
    state = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    torch.save(around(state) if around else state, path, _use_new_zipfile_serialization=not legacy)
    return path


def chainer_arrays(network):
    """Return the arrays of a pytorchcv network by the names that its twin in Chainer saves."""
    arrays = {}
    for path, layer in network.named_modules():
        folder = "output/fc" if path == "output" else path.replace(".", "/")
        if isinstance(layer, nn.BatchNorm2d):
            leaves = {
                "gamma": layer.weight, "beta": layer.bias, "avg_mean": layer.running_mean, "avg_var": layer.running_var,
                "N": torch.tensor(0),
            }  # fmt: skip
        elif isinstance(layer, (nn.Conv2d, nn.Linear)):
            leaves = {"W": layer.weight} if layer.bias is None else {"W": layer.weight, "b": layer.bias}
        else:
            continue
        arrays |= {f"{folder}/{leaf}": tensor.detach().numpy() for leaf, tensor in leaves.items()}
    return arrays


def save_chainer(path, network):
    np.savez_compressed(path, **chainer_arrays(network))
    return path


def save_tf2cv(path, network):
    """Write a `torch_networks.resnet` as tf2cv's twin of it does, which names and groups variables by layers' names."""
    import h5py

    def place(name):
        block = re.fullmatch(r"layer(\d)\.(\d+)\.(?:(conv|bn)(\d)|downsample\.([01]))", name)
        if block:
            stage, unit = f"stage{block[1]}", f"unit{int(block[2]) + 1}"
            inner = f"body/conv{block[4]}" if block[3] else "identity_conv"
            kind = block[3] or ("conv", "bn")[int(block[5])]
            folders = f"features/features/{stage}/{stage}/{unit}/{inner}"
        else:
            kind, folders = name.rstrip("1"), "features/features/init_block"
        return f"features/cifar_res_net/{folders}/" + ("conv/conv" if kind == "conv" else "bn")

    with h5py.File(path, "w") as file:
        for name, layer in network.named_modules():
            if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
                folder = "output1/cifar_res_net/output1" if isinstance(layer, nn.Linear) else place(name)
                for leaf, tensor in keras_tensors(layer).items():
                    file[f"{folder}/{leaf}:0"] = tensor.detach().numpy()
    return path


def lasagne_arrays(network):
    """Return the arrays of an `InOrder` network as Lasagne lists them."""
    arrays = []
    for layer in network.layers:
        if isinstance(layer, nn.BatchNorm2d):
            inverse = (layer.running_var + layer.eps) ** -0.5
            arrays += [layer.bias, layer.weight, layer.running_mean, inverse]
        elif isinstance(layer, nn.Linear):
            arrays += [layer.weight.T, layer.bias]
        else:
            arrays.append(layer.weight)
    return [array.detach().numpy() for array in arrays]


def save_lasagne(path, network):
    np.savez(path, *lasagne_arrays(network))
    return path


def fill_from_lasagne(network, path):
    with np.load(path) as file:
        arrays = [torch.from_numpy(file[f"arr_{i}"]) for i in range(len(file.files))]
    for layer in network.layers:
        if isinstance(layer, nn.BatchNorm2d):
            beta, gamma, mean, inverse = (arrays.pop(0) for _ in range(4))
            tensors = {layer.bias: beta, layer.weight: gamma, layer.running_mean: mean}
            tensors[layer.running_var] = inverse**-2 - layer.eps
        elif isinstance(layer, nn.Linear):
            tensors = {layer.weight: arrays.pop(0).T, layer.bias: arrays.pop(0)}
        else:
            tensors = {layer.weight: arrays.pop(0)}
        for tensor, array in tensors.items():
            tensor.data.copy_(array)
    if arrays:
        raise ValueError(f"{path}: {len(arrays)} arrays are left over")
    return network.eval()


def keras_tensors(layer):
    """Return a layer's tensors by Keras' names, with Keras' order of axes."""
    if isinstance(layer, nn.BatchNorm2d):
        return {
            "gamma": layer.weight, "beta": layer.bias,
            "moving_mean": layer.running_mean, "moving_variance": layer.running_var,
        }  # fmt: skip
    kernel = layer.weight.permute(2, 3, 1, 0) if layer.weight.ndim == 4 else layer.weight.T
    return {"kernel": kernel} if layer.bias is None else {"kernel": kernel, "bias": layer.bias}


def save_keras_checkpoint(path, network):
    """Write an `InOrder` network as Keras' `save_weights` of TensorFlow 2.0 does; return the path without an ending."""
    import tensorflow as tf

    root = tf.train.Checkpoint()
    for i, layer in enumerate(network.layers):
        node = tf.Module()
        for name, tensor in keras_tensors(layer).items():
            setattr(node, name, tf.Variable(tensor.detach().numpy()))
        setattr(root, f"layer_with_weights-{i}", node)
    return Path(root.write(str(path)))


def fill_from_keras_checkpoint(network, path):
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(path))
    remaining = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    for i, layer in enumerate(network.layers):
        for name, tensor in keras_tensors(layer).items():
            key = f"layer_with_weights-{i}/{name}/.ATTRIBUTES/VARIABLE_VALUE"
            remaining.remove(key)
            tensor.data.copy_(torch.from_numpy(reader.get_tensor(key)))
    if remaining:
        raise ValueError(f"{path}: {sorted(remaining)} are left over")
    return network.eval()
