"""Other projects' checkpoints to mutate, written without their libraries, and hostile ones of each format.

Mutations of the bytes alone would mostly end at a checksum. So pickles, indexes and headers are mutated before they are
packed.
"""

import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import hostile
import mutations
import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
ARRAYS = {
    f"layer{n}.{part}": np.arange(6.0, dtype="<f4").reshape(2, 3) for n in range(3) for part in ("weight", "bias")
}

# ----------------------------------------------------------------------------------------------------- PyTorch


def text(value: str) -> bytes:
    """Pickle a text."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    """Pickle an integer of up to 64 bits."""
    return b"\x8a\x08" + struct.pack("<q", value)


def integers(values) -> bytes:
    """Pickle a tuple of integers."""
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key="0", kind="torch\nFloatStorage", total=6, view=b"") -> bytes:
    """Pickle the persistent id of a storage."""
    return b"(" + text("storage") + f"c{kind}\n".encode() + text(key) + text("cpu") + integer(total) + view + b"tQ"


def tensor(storage: bytes, offset=0, shape=(2, 3), stride=(3, 1)) -> bytes:
    """Pickle a tensor."""
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n("
        + storage
        + integer(offset)
        + integers(shape)
        + integers(stride)
        + b"\x89NtR"
    )


def state(view=b"", items=()) -> bytes:
    """Pickle a dictionary of tensors with other things beside it."""
    tensors = b"".join(text(name) + tensor(storage(str(key), view=view)) for key, name in enumerate(ARRAYS))
    model = b"ccollections\nOrderedDict\nq\x01)R(" + tensors + b"u}" + text("_metadata") + b"h\x01)Rsb"
    numbers = b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n" + text("f8") + b"K\x00K\x01\x87R(K\x03"
    numbers += text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbc_codecs\nencode\n" + text("\0" * 8)
    numbers += text("latin1") + b"\x86R\x86R"
    pairs = text("state_dict") + model + text("accuracy") + numbers + text("epoch") + integer(200)
    return b"\x80\x02}(" + pairs + b"".join(text(f"item{n}") + item for n, item in enumerate(items)) + b"u."


def torch_zip(pickled: bytes, method=zipfile.ZIP_STORED) -> bytes:
    """Return a file in the zip format."""
    members = {"net/data.pkl": pickled, "net/byteorder": b"little", "net/version": b"3\n"}
    members |= {f"net/data/{key}": array.tobytes() for key, array in enumerate(ARRAYS.values())}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def torch_legacy(pickled: bytes, keys: bytes | None = None) -> bytes:
    """Return a file in the format before the zip."""
    parts = [pickle.dumps(value, 2) for value in (MAGIC, 1001, {"little_endian": True})]
    parts += [pickled, pickle.dumps([str(key) for key in range(len(ARRAYS))], 2) if keys is None else keys]
    return b"".join(parts) + b"".join(struct.pack("<q", array.size) + array.tobytes() for array in ARRAYS.values())


CALLS = (
    *(
        "posix\nsystem",
        "os\nsystem",
        "builtins\neval",
        "builtins\nexec",
        "hostile_module\nevil",
        "hostile_module\nEvil",
    ),
    *(
        "torch\nload",
        "torch.hub\nload",
        "numpy\nload",
        "builtins\n__import__",
        "builtins\ngetattr",
        "functools\npartial",
    ),
)
HARMLESS = (
    *("collections\nOrderedDict", "collections\ndefaultdict", "builtins\nset", "builtins\ndict", "numpy\ndtype"),
    *("numpy.core.multiarray\n_reconstruct", "numpy.core.multiarray\nscalar", "torch\nSize", "torch\ndevice"),
    *("torch._utils\n_rebuild_tensor_v2", "torch._utils\n_rebuild_tensor_v3", "torch._utils\n_rebuild_parameter"),
    *("torch\nFloatStorage", "torch\nBFloat16Storage", "torch._tensor\n_rebuild_from_type_v2", "argparse\nNamespace"),
    *("torch.storage\nUntypedStorage", "_codecs\nencode", "numpy\nndarray", "torch\nfloat32"),
)
NUMBERS = (0, 1, -1, 2, 3, 5, 6, 7, 2**31, 2**32, 2**40, 2**47, 2**62, -(2**63), 2**63 - 1)


def hostile_item(random) -> bytes:
    """Return a pickled value that calls something, lies, or multiplies itself."""
    kind = random.randrange(9)
    if kind == 0:
        arguments = random.choice((b")", text("touch executed") + b"\x85", text("open('executed','w')") + b"\x85"))
        return f"c{random.choice(CALLS)}\n".encode() + arguments + random.choice((b"R", b"\x81", b"b", b""))
    if kind == 1:
        arguments = b"".join(_value(random) for _ in range(random.randrange(8)))
        return f"c{random.choice(HARMLESS)}\n(".encode() + arguments + b"t" + random.choice((b"R", b"R", b"\x81", b"b"))
    if kind == 2:
        numbers = [random.choice(NUMBERS) for _ in range(3)]
        sides = [random.choice(NUMBERS) for _ in range(random.choice((0, 1, 2, 2, 3, 40)))]
        strides = [random.choice(NUMBERS) for _ in sides]
        kind = random.choice(("Float", "Double", "BFloat16", "Half", "Bool", "QInt8", "ComplexFloat"))
        whole = storage(random.choice("0129"), f"torch\n{kind}Storage", random.choice((6, 6, 3, *numbers)))
        return tensor(whole, numbers[0] if random.random() < 0.5 else 0, sides, strides)
    if kind == 3:
        depth = random.choice((5, 30, 200))
        inner = lambda level: b"j" + struct.pack("<I", 1000 + level)  # noqa: E731
        keep = lambda level: b"r" + struct.pack("<I", 1000 + level)  # noqa: E731
        doubled = random.choice((lambda x: x + x + b"\x86", lambda x: b"](" + x + x + b"e", lambda x: b"}" + x + b"Ns"))
        return b"K\x01" + keep(0) + b"".join(doubled(inner(level)) + keep(level + 1) for level in range(depth))
    if kind == 4:
        return random.choice(
            (b"](" + b"]" * 100_000, b"N0" * 300_000, b"(" * 100_000, b"2" * 1000, b"\x8bX\xff\xff\xff\xff")
        )
    if kind == 5:
        claims = (b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 8, b"\x8d" + b"\x7f" * 8, b"\x96" + b"\xff" * 7 + b"\x7f")
        return random.choice(
            (*claims, b"\x8b\xff\xff\xff\x7f", b"I" + b"9" * 5000 + b"\n", b"\x95" + b"\xff" * 8, b"\x97")
        )
    if kind == 6:
        shared = text("a" * 10**5) + b"r\xff\x00\x00\x00"
        again = b"c_codecs\nencode\nj\xff\x00\x00\x00" + text("latin1") + b"\x86R0"
        return shared + again * random.choice((10, 3000))
    if kind == 7:
        return (
            b"]("
            + tensor(storage(), shape=(2 ** random.choice((5, 20, 30)),), stride=(0,)) * random.choice((1, 300))
            + b"e"
        )
    return random.randbytes(random.choice((1, 3, 10)))


def _value(random) -> bytes:
    choices = [integer(random.choice(NUMBERS)), integers([2, 3]), b"N", b"\x88", text("x"), b")", b"}", b"]", storage()]
    choices += [tensor(storage()), b"ctorch\nfloat32\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"C\x04abcd"]
    return random.choice(choices)


def torch_file(random) -> bytes:
    """Return a mutated or hostile file of torch.save in one of its formats."""
    is_zip = random.random() < 0.5
    view = b"" if is_zip else random.choice((b"N", b"N", b"(" + text("v") + integer(0) + integer(6) + b"t"))
    pickled = state(view, [hostile_item(random)] if random.random() < 0.5 else [])
    if random.random() < 0.4:
        pickled = mutations.mutate_bytes(random, pickled)
    if is_zip:
        whole = torch_zip(pickled, random.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
        kind = random.random()
        if kind < 0.2:
            return hostile.npz(random, whole)
    else:
        keys = mutations.mutate_bytes(random, pickle.dumps(["0", "1", "2"], 2)) if random.random() < 0.15 else None
        whole = torch_legacy(pickled, keys)
    return mutations.mutate_bytes(random, whole) if random.random() < 0.25 else whole


# ----------------------------------------------------------------------------------------------------- others


def varint(number: int) -> bytes:
    """Return a number as protocol buffers write it."""
    data = b""
    while number > 127:
        data += bytes([number & 127 | 128])
        number >>= 7
    return data + bytes([number])


def _block(content: bytes) -> bytes:
    from cifarzoo.conversion.readers.crc32c import crc32c, masked

    content += b"\0"
    return content + struct.pack("<I", masked(crc32c(content)))


def _entries(entries) -> bytes:
    parts = [varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries]
    return b"".join(parts) + struct.pack("<II", 0, 1)


def tensorflow_index(random, data: bytes) -> bytes:
    """Return a mutated or hostile index of a TensorFlow checkpoint with these data; its checksums are right."""
    from cifarzoo.conversion.readers.crc32c import crc32c, masked

    entries = [(b"", b"\x08\x01\x1a\x02\x08\x01")]
    for number, name in enumerate(ARRAYS):
        sides = [random.choice(NUMBERS) % 2**64 for _ in range(3)] if random.random() < 0.05 else [2, 3]
        shape = b"".join(b"\x12" + varint(len(varint(side)) + 1) + b"\x08" + varint(side) for side in sides)
        values = [1, 0, 24 * number, 24]
        if random.random() < 0.1:
            values[random.randrange(4)] = random.choice(NUMBERS) % 2**64
        message = b"\x08" + varint(values[0]) + b"\x12" + varint(len(shape)) + shape
        message += b"\x18" + varint(values[1]) + b"\x20" + varint(values[2]) + b"\x28" + varint(values[3])
        checksum = masked(crc32c(data[24 * number : 24 * number + 24]))
        entries.append((name.encode(), message + b"\x35" + struct.pack("<I", checksum)))
    content = _entries(entries)
    if random.random() < 0.5:
        content = mutations.mutate_bytes(random, content)
    first = _block(content)
    handles = [(bytes([n]), varint(0) + varint(len(content))) for n in range(random.choice((1, 1, 1, 2, 100)))]
    listing = _entries(handles)
    if random.random() < 0.2:
        listing = mutations.mutate_bytes(random, listing)
    footer = varint(0) + varint(len(content)) + varint(len(first)) + varint(len(listing))
    whole = first + _block(listing) + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")
    return mutations.mutate_bytes(random, whole) if random.random() < 0.2 else whole


def safetensors_file(random) -> bytes:
    """Return a mutated .safetensors file."""
    header, position = {"__metadata__": {"format": "pt"}}, 0
    for name, array in ARRAYS.items():
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [position, position + array.nbytes]}
        position += array.nbytes
    data = json.dumps(header).encode()
    if random.random() < 0.7:
        data = mutations.mutate_json(random, data.decode(), hostile.JSON_BOMBS)
        data = data if isinstance(data, bytes) else data.encode()
    length = random.choice((len(data),) * 8 + (0, len(data) + 1, 2**40, 2**64 - 1))
    whole = struct.pack("<Q", length) + data + b"".join(array.tobytes() for array in ARRAYS.values())
    return mutations.mutate_bytes(random, whole) if random.random() < 0.3 else whole


def npz_file(random) -> bytes:
    """Return a mutated or hostile .npz file with Chainer's names."""
    file = io.BytesIO()
    np.savez_compressed(file, **{name.replace(".", "/"): array for name, array in ARRAYS.items()})
    data = file.getvalue()
    return mutations.mutate_bytes(random, data) if random.random() < 0.3 else hostile.npz(random, data)


def keras_file(random) -> bytes:
    """Return a mutated or hostile file of Keras 2's `save_weights`."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as weights:
        for name, array in ARRAYS.items():
            weights[f"features/{name}:0"] = array
        weights.attrs["layer_names"] = [b"features"]
        weights["features"].attrs["weight_names"] = [f"{name}:0".encode() for name in ARRAYS]
    data = file.getvalue()
    return mutations.mutate_bytes(random, data) if random.random() < 0.5 else hostile.h5(random, data, Path())


def make_checkpoint(random) -> tuple[str, bytes, bytes]:
    """Return the name of a checkpoint's file, its content, and the data beside it if it is a TensorFlow index."""
    kind = random.choice(("torch",) * 5 + ("tensorflow",) * 3 + ("npz", "safetensors", "keras"))
    if kind == "tensorflow":
        data = b"".join(array.tobytes() for array in ARRAYS.values())
        index = tensorflow_index(random, data)
        return "x.index", index, data[: random.choice((len(data),) * 9 + (0, 50))]
    makers = {"torch": torch_file, "npz": npz_file, "safetensors": safetensors_file, "keras": keras_file}
    return f"x.{kind}", makers[kind](random), b""
