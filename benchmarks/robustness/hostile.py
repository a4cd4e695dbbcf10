"""Hostile input made for each format: bombs, lying headers, links, path traversal, and embedded code.

Every function takes a `random.Random`, which alone determines the result. Functions for text return a value to insert
anywhere in a document of the format; functions for files return the whole file.
"""

import gzip
import io
import json
import struct
import tarfile
import zipfile
import zlib

import numpy as np
from mutations import MARK, mutate_json, mutate_tree

# ----------------------------------------------------------------------------------------------------- YAML and JSON


def alias_bomb(random):
    """Anchors that double at every level: a few hundred bytes for 2^n nodes."""
    depth, mapping = random.choice((5, 12, 20, 26, 40)), random.random() < 0.5
    lines = ["bomb_0: &m0 x\n"]
    for level in range(1, depth):
        inner = f"*m{level - 1}"
        value = f"{{a: {inner}, b: {inner}}}" if mapping else f"[{inner}, {inner}]"
        lines.append(f"bomb_{level}: &m{level} {value}\n")
    # In the same document, because anchors are not known in others.
    return "".join(lines), f"*m{depth - 1}"


def local_alias_bomb(random):
    """An alias bomb within one value."""
    depth = random.choice((5, 12, 20, 26))
    value = "&m0 [x]"
    for level in range(1, depth):
        value = f"&m{level} [{value}, *m{level - 1}]"
    return "", value


def nested_yaml(random):
    """Brackets in brackets."""
    depth = random.choice((50, 150, 300, 500, 1000, 5000, 50_000))
    opening, closing = random.choice((("[", "]"), ("{a: ", "}"), ("[[", "]]"), ("{? ", "}"), ("- ", "")))
    return "", opening * depth + "x" + closing * depth


def many_items(random):
    """A long list, or a mapping with many keys."""
    count = random.choice((1000, 10_000, 50_000))
    if random.random() < 0.5:
        return "", "{" + ", ".join(f"key{number}: {number}" for number in range(count)) + "}"
    return "", "[" + ", ".join(map(str, range(count))) + "]"


def many_documents(random):
    """Several documents before the one that is read."""
    return "model: cifar_resnet20\n---\n" * random.choice((10, 500, 3000)), "1"


def long_number(random):
    """A number with more digits than Python converts, in one of YAML's bases."""
    digits = random.choice((50, 4301, 30_000))
    return "", random.choice(("9", "0x" + "f", "0b" + "1", "0", "-9", "9.", "1:5", "9e")) + "9" * digits


def long_text(random):
    """A text on which a careless regular expression takes very long."""
    count = random.choice((300, 5000, 100_000))
    return "", random.choice(("a", "1", "_", "-", " ", "a.", "1e", "+")) * count + random.choice(("", "!", "\\"))


def grid_bomb(random):
    """A grid with more points than can be trained."""
    axes, values = random.choice((2, 4, 8, 12)), random.choice((3, 10, 100))
    keys = ["batch_size", "momentum", "weight_decay", "clip_norm", "sam_rho", "label_smoothing", "ema_decay"]
    axis = "[" + ", ".join(f"0.{value}" for value in range(1, values + 1)) + "]"
    rows = [f"  train_parameters.{keys[n % len(keys)]}{'' if n < len(keys) else n}: {axis}\n" for n in range(axes)]
    return "grid:\n" + "".join(rows), "1"


YAML_BOMBS = (
    alias_bomb,
    local_alias_bomb,
    nested_yaml,
    many_items,
    many_documents,
    long_number,
    long_text,
    grid_bomb,
)


def nested_json(random):
    """Brackets in brackets, closed or not."""
    depth = random.choice((100, 900, 1100, 5000, 100_000))
    opening, closing = random.choice((("[", "]"), ('{"a":', "}")))
    return opening * depth + "1" + closing * (depth if random.random() < 0.7 else 0)


def wide_json(random):
    """A long list or a mapping with many keys."""
    count = random.choice((1000, 50_000))
    if random.random() < 0.5:
        return json.dumps({f"key{number}": number for number in range(count)})
    return json.dumps(list(range(count)))


JSON_BOMBS = (nested_json, wide_json)


def tsv(random, text: str) -> bytes:
    """Return a table with a field, a row or the header broken."""
    lines = text.splitlines()
    row, values = random.randrange(len(lines)), None
    values = lines[row].split("\t")
    column = random.randrange(len(values))
    kind = random.randrange(6)
    if kind == 0:
        values[column] = random.choice(
            [
                "",
                "x",
                "nan",
                "inf",
                "-inf",
                "1e999",
                "9" * 5000,
                "1_0",
                '"',
                '"a\tb"',
                "a" * 140_000,
                "\0",
                "0x1",
                "\x1b[",
            ]
        )
    elif kind == 1:
        del values[column]
    elif kind == 2:
        values += ["1"] * random.choice((1, 3, 50_000))
    elif kind == 3:
        values = values[:column]
    elif kind == 4:
        lines = lines[: row + 1] if random.random() < 0.7 else []
        row = min(row, len(lines) - 1)
    else:
        lines.insert(row, lines[0])
    if lines:
        lines[row] = "\t".join(values)
    end = random.choice(("\n", "\n", "\r\n", "\r", ""))
    return end.join([*lines, ""]).encode(random.choice(("utf-8", "utf-8", "utf-8", "utf-16")))


# ----------------------------------------------------------------------------------------------------- npz


def npy_header(description: str, shape: str, fortran: bool = False) -> bytes:
    """Return the start of an .npy file that claims a type and a shape."""
    text = f"{{'descr': {description}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def lying_npy(random) -> bytes:
    """Return an .npy file whose header does not match its contents."""
    descriptions = [
        *(
            "'<f4'",
            "'<f8'",
            "'|O'",
            "'<U10'",
            "'|S0'",
            "'|V8'",
            "'<M8[s]'",
            "'<c16'",
            "'<i8'",
            "'|b1'",
            "'<f16'",
            "'x'",
        ),
        *("[('a', '<f4')]", "[('a', '|O')]", "('<f4', (2, 2))", "'<U1000000000'", "3", "None", "[" * 90 + "]" * 90),
    ]
    shapes = [
        *(
            "(3,)",
            "(1000000000000,)",
            "(1099511627776, 4)",
            "(0, 1000000000)",
            "(-1,)",
            "(4294967296, 4294967296)",
            "()",
        ),
        *("(9" + "9" * 30 + ",)", "3", "(1.5,)", "(True,)", "None", "('a',)", "((1,),)", "(" * 200 + ")" * 200, "(1"),
    ]
    description, shape = random.choice(descriptions), random.choice(shapes)
    return npy_header(description, shape, random.random() < 0.2) + random.randbytes(random.choice((0, 12, 100)))


def npz(random, data: bytes) -> bytes:
    """Return an .npz file with one member or the archive itself made hostile."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(members))
    kind = random.randrange(14)
    if kind == 0:
        return members[name]  # an .npy under the name of an .npz
    if kind <= 3:
        members[name] = lying_npy(random)
    elif kind == 4:
        del members[name]
    elif kind == 5:
        names = ("../executed.npy", "/executed.npy", "a\\b.npy", "C:x.npy", ".npy", "x", "x" * 60_000)
        members[random.choice(names)] = members[name]
    elif kind == 6:
        values = np.array(random.choice([[np.nan], [np.inf], ["x"], [1 + 2j], [True], [b"x"], [], [[1.0]], [2**63]]))
        members[name] = _npy(values)
    elif kind == 7:
        other = random.choice(sorted(members))
        members[name], members[other] = members[other], members[name]
    elif kind == 8:
        texts = ('"x"', "3", "null", "[]", "{}", '{"step": -1}', "[" * 100_000, "NaN", "{", '{"step": "x"}')
        members["__meta__.npy"] = _npy(np.array(random.choice(texts)))
    elif kind == 9:
        members[name] = npy_header("'<f4'", f"({1 << 30},)") + bytes(1 << 22)
    packed = _zip(members, zipfile.ZIP_DEFLATED if random.random() < 0.5 else zipfile.ZIP_STORED)
    if kind == 10:  # encrypted, or compressed by an unknown method
        changes = ((8, 6, 1), (10, 8, 99), (10, 8, 12), (10, 8, 14), (10, 8, 93))
        return _change_zip(random, packed, *random.choice(changes))
    if kind == 11:  # sizes, offsets or checksums
        changes = ((16, 14, 255), (20, 18, 255), (24, 22, 255), (42, None, 255))
        return _change_zip(random, packed, *random.choice(changes))
    if kind == 12:
        packed += random.randbytes(random.choice((1, 22, 70_000)))
    if kind == 13:
        members |= {f"x{number}.npy": _npy(np.zeros(1)) for number in range(random.choice((100, 5000)))}
        packed = _zip(members)
    return packed


def _npy(values):
    file = io.BytesIO()
    np.save(file, values, allow_pickle=True)
    return file.getvalue()


def _zip(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def _change_zip(random, data, central, local, value):
    """Set a byte of one entry in the central directory, and in its local header if it has that field."""
    data = bytearray(data)
    entries = [position for position in range(len(data) - 4) if data[position : position + 4] == b"PK\x01\x02"]
    entry = random.choice(entries)
    offset = struct.unpack_from("<I", data, entry + 42)[0]
    data[entry + central] = value
    if local is not None:
        data[offset + local] = value
    return bytes(data)


# ----------------------------------------------------------------------------------------------------- HDF5


def described_h5(random, data: bytes, folder) -> bytes:
    """Return a weight file with a changed description."""
    import h5py

    path = folder / "being_made.h5"
    path.write_bytes(data)
    with h5py.File(path, "r+") as file:
        _edit_description(random, file)
    content = path.read_bytes()
    path.unlink()
    return content


def h5(random, data: bytes, folder) -> bytes:
    """Return a weight file with an array, a name, an attribute or a link made hostile; it may use files in `folder`."""
    import h5py

    path = folder / "being_made.h5"
    path.write_bytes(data)
    with h5py.File(path, "r+") as file:
        arrays = []
        file.visititems(lambda name, node: arrays.append(name) if isinstance(node, h5py.Dataset) else None)
        name = random.choice(arrays)
        shape, parent, last = file[name].shape, file[name].parent, name.rpartition("/")[2]
        kind = random.randrange(15)
        if kind == 0:
            file[name][...] = random.choice((np.nan, np.inf, -np.inf))
        elif kind == 1:
            values = file[name][...]
            values.flat[random.randrange(max(1, values.size))] = np.nan
            file[name][...] = values
        elif kind == 14:
            _edit_attribute(random, file)
        else:
            del file[name]
            if kind == 2:
                other = random.choice([(), (0,), (1,), (3, 3), (1 << 20,), (*shape, 1)])
                parent.create_dataset(last, data=np.zeros(other, "float32"))
            elif kind == 3:  # missing chunks: terabytes of zeros in a small file
                huge = random.choice([(1 << 20, 1 << 10), (1 << 30,), (1 << 40,), (*shape[:-1], 10**9)])
                chunks = tuple(min(n, 256) for n in huge)
                parent.create_dataset(last, huge, "float32", chunks=chunks, compression=random.choice((None, "gzip")))
            elif kind == 4:
                values = random.choice([np.ones(shape, "complex64"), np.ones(shape, "int64"), np.ones(shape, bool)])
                parent.create_dataset(last, data=values)
            elif kind == 5:
                parent.create_dataset(last, data=np.full(shape, b"x", "S1") if shape else b"x")
            elif kind == 6:
                parent[last] = h5py.ExternalLink(random.choice(("other.h5", "/etc/passwd", "../other.h5")), "/x")
            elif kind == 7:
                parent[last] = h5py.SoftLink(random.choice(("/", "/layers", f"/{name}", "/missing")))
            elif kind == 8:
                parent.create_dataset(last, shape, "float32", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
            elif kind == 9:
                layout = h5py.VirtualLayout(shape or (1,), "float32")
                layout[...] = h5py.VirtualSource("other.h5", "x", shape or (1,))
                parent.create_virtual_dataset(last, layout)
            elif kind == 10:
                group = parent.create_group(last)
                for _ in range(random.choice((1, 50, 1000))):
                    group = group.create_group("a")
            elif kind == 11:
                parent[last] = h5py.SoftLink(f"/{parent.name}")
                parent.create_group("layers")["again"] = h5py.SoftLink("/")
            elif kind == 12:
                parent.create_dataset(last, data=np.void(b"\0" * 40))
            # kind 13 only deletes.
    content = path.read_bytes()
    path.unlink()
    return content


def _edit_attribute(random, file):
    """Change the file's description, or the name of a layer."""
    import h5py

    if "cifarzoo" in file.attrs and random.random() < 0.7:
        _edit_description(random, file)
        return
    holders = []
    file.visititems(lambda name, node: holders.append(name) if "name" in node.attrs else None)
    if holders:
        names = ["", "x", "logits", "a/b", "\x1b]0;x", "x" * 5000, 3, np.zeros(2), h5py.Empty("f")]
        file[random.choice(holders)].attrs["name"] = random.choice(names)


def _edit_description(random, file):
    import h5py

    if random.random() < 0.1:
        file.attrs["cifarzoo"] = random.choice([np.void(b"\xff"), 3, np.zeros(3), h5py.Empty("f"), ""])
        return
    document = json.loads(file.attrs["cifarzoo"])
    if random.random() < 0.5 and document["arguments"]:  # networks that nobody can build
        numbers = (0, -1, 3, 110, 100_001, 10**9, 10**18, 1.5, True, "x", [], None)
        document["arguments"][random.choice(sorted(document["arguments"]))] = random.choice(numbers)
        document["classes"] = random.choice((10, 10, 10, 0, -1, 10**9, "x"))
        text = json.dumps(document)
    else:
        text = mutate_json(random, json.dumps(document), JSON_BOMBS)[:60_000].decode("latin-1").replace("\0", "0")
    file.attrs["cifarzoo"] = text


# ----------------------------------------------------------------------------------------------------- .keras

EVIL_OBJECTS = (
    {"module": "os", "class_name": "system", "config": {"command": "touch executed"}},
    {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "executed"]}},
    {"module": "builtins", "class_name": "function", "config": "system", "registered_name": "os>system"},
    {"module": "builtins", "class_name": "exec", "config": {"source": "open('executed', 'w')"}},
    {"module": "hostile_module", "class_name": "Evil", "config": {}, "registered_name": "Evil"},
    {"module": "keras.utils", "class_name": "get_file", "config": {"fname": "x", "origin": "http://127.0.0.1:9/x"}},
    {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}},
    {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "folder"}},
    {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {"module": "gAN9Lg=="}},
    {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}},
    {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "hostile_module.evil"}},
    {"module": "keras", "class_name": "__lambda__", "config": {"value": "4wAAAAA="}},
    {"module": "keras.models", "class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}},
)


def keras_file(random, data: bytes, folder) -> bytes:
    """Return a .keras file with its configuration, weights or archive made hostile."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    kind = random.randrange(9)
    if kind <= 2:
        members["config.json"] = mutate_json(random, members["config.json"].decode(), JSON_BOMBS)
    elif kind <= 5:
        config = json.loads(members["config.json"])
        evil = dict(random.choice(EVIL_OBJECTS))
        if random.random() < 0.5:
            config["config"]["layers"][random.randrange(len(config["config"]["layers"]))] |= evil
        else:
            marked = config
            while MARK not in json.dumps(marked):
                marked = mutate_tree(random, config)
            config = json.loads(json.dumps(marked).replace(f'"{MARK}"', json.dumps(evil)))
        members["config.json"] = json.dumps(config).encode()
    elif kind == 6:
        members["model.weights.h5"] = h5(random, members["model.weights.h5"], folder)
    elif kind == 7:
        name = random.choice(("../executed", "/tmp/executed_by_keras", "assets/../../executed", "model.weights.h5/x"))
        members[name] = b"executed"
    else:
        del members[random.choice(sorted(members))]
    return _zip(members)


# ----------------------------------------------------------------------------------------------------- archives


def pack(members: dict[str, bytes]) -> bytes:
    """Return a good .tar.gz."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(stream.getvalue(), 1, mtime=0)


def tar_gz(random, members: dict[str, bytes]) -> bytes:
    """Return a .tar.gz of the members with one entry, a header or the compression made hostile."""
    name = random.choice(sorted(members))
    kind = random.randrange(12)
    entries = []
    for one, content in members.items():
        entry = tarfile.TarInfo(one)
        entry.size = len(content)
        entries.append((entry, content))
    index = random.randrange(len(entries))
    entry, content = entries[index]
    if kind == 0:
        entry.type = random.choice((tarfile.SYMTYPE, tarfile.LNKTYPE))
        entry.linkname, entry.size, entries[index] = random.choice(("/etc/passwd", "../x", name)), 0, (entry, b"")
    elif kind == 1:
        entry.type = random.choice((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE, b"?", b"S"))
    elif kind == 2:
        entry.name = random.choice(("../../executed", "/executed", f"./{name}", f"{name}/", "x" * 5000, "\udcff"))
    elif kind <= 5:
        keys = ["GNU.sparse.map", "GNU.sparse.size", "GNU.sparse.major", "GNU.sparse.name", "GNU.sparse.realsize"]
        values = ["", "x", "-1", "9" * 30, "0,1", "1,", "\0", "1e5", "nan", "inf", "\xff"]
        headers = {random.choice([*keys, "size", "path", "mtime", "uid", "hdrcharset"]): random.choice(values)}
        if random.random() < 0.3:
            headers |= {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        entry.pax_headers = headers
    elif kind == 6:
        entries[index] = (entry, content + b"x") if random.random() < 0.5 else (entry, content[:-1])
        entry.size = len(entries[index][1])
    elif kind == 7:
        entries += [entries[index]] * random.choice((1, 300))
    elif kind == 8:
        del entries[index]
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for one, content in entries:
            tar.addfile(one, io.BytesIO(content))
    raw = bytearray(stream.getvalue())
    if kind == 9:  # a number in a header, with its checksum corrected or not
        block = 512 * random.randrange(len(raw) // 512)
        field = random.choice(((100, 8), (124, 12), (136, 12), (148, 8), (156, 1), (257, 8), (345, 20)))
        raw[block + field[0] : block + sum(field)] = random.choice((b"\xff", b"9", b"\0", b"\x80"))[:1] * field[1]
        if random.random() < 0.7:
            raw[block + 148 : block + 156] = b" " * 8
            raw[block + 148 : block + 156] = b"%06o\0 " % (sum(raw[block : block + 512]) & 0o777777)
    if kind == 10:
        raw += bytes(random.choice((1 << 20, 1 << 26)))
    packed = gzip.compress(bytes(raw), 1, mtime=0)
    if kind == 11:
        packed = random.choice(
            (packed[:-4], packed + packed, packed + b"x", bytes(raw), zlib.compress(bytes(raw)), packed[:20], b"")
        )
    return packed


def batch_pickle(random, rows: int) -> bytes:
    """Return a pickle that looks like a CIFAR batch."""
    import pickle

    data = np.zeros((rows, 3072), np.uint8)
    labels = [number % 10 for number in range(rows)]
    batch = {b"data": data, b"labels": labels}
    value = random.choice((10**5000, -1, 10, 1.5, "x", None, True, [1], 2**40, 10**18, b"\xff", float("nan")))
    kind = random.randrange(10)
    if kind == 0:
        labels[random.randrange(rows)] = value
    elif kind == 1:
        batch[random.choice((b"data", b"labels"))] = value
    elif kind == 2:
        batch[b"data"] = random.choice(
            (data[:-1], data.astype("int8"), data.astype(object), data[:, :5], data.T.copy(), data.astype("float32"))
        )
    elif kind == 3:
        batch = random.choice((value, [batch], (batch,), {"data": data}, {1: 2}, set()))
    elif kind == 4:
        nested = []
        for _ in range(random.choice((10, 500, 900))):
            nested = [nested]
        batch[b"batch_label"] = nested
    elif kind == 5:
        batch[b"labels"] = np.array(labels, random.choice(("i8", "i4", "u1", "f4", ">i8", "U3")))
    whole = pickle.dumps(batch, protocol=random.choice((0, 1, 2, 3, 4, 5)))
    if kind == 6:  # calls
        calls = (
            ("os", "system", "touch executed"),
            ("posix", "mkdir", "executed"),
            ("builtins", "eval", "open('executed','w')"),
            ("builtins", "exec", "open('executed','w')"),
            ("hostile_module", "evil", ""),
            ("numpy", "load", "x.npy"),
        )
        module, name, argument = random.choice(calls)
        return f"c{module}\n{name}\n(S'{argument}'\ntR.".encode()
    if kind == 7:  # lengths and memo entries that the pickle does not have
        claims = [
            *(b"B\xff\xff\xff\x7f", b"\x8e" + b"\xff" * 7 + b"\x7f", b"r\xff\xff\xff\x7f", b"p99999999999\n"),
            *(b"\x8d" + b"\xff" * 8, b"(" * 100_000, b"]" * 100_000 + b"a" * 99_999 + b".", b"\x8b\xff\xff\xff\x7f"),
            b"I" + b"9" * 5000 + b"\n.",
        ]
        return b"\x80\x04" + random.choice(claims)
    if kind == 8:
        return whole[:-1] + b"2" * random.choice((1, 10_000)) + b"."
    return whole
