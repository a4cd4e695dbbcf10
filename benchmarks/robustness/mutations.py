"""Mutations of bytes, and of trees of mappings, lists and scalars, without any knowledge of their meaning.

Every function takes a `random.Random`, which alone determines the result.
"""

import json

import yaml

SCALARS = [
    *("", " ", "null", "~", "true", "no", "-1", "0", "1", "3.5", "-0.0", ".nan", ".inf", "-.inf", "1e400", "1e-400"),
    *("0x10", "0o17", "1_000", "12:30:45", "2024-02-30", "2024-02-29", "1" * 25, "9" * 400, "9" * 5000),
    *("0x" + "f" * 4000, "1e" + "9" * 30, "a" * 300, "a" * 100_000, "[]", "{}", "[[]]", "{a: 1}", "[1, 2, 3]"),
    *(
        '"a\\0b"',
        '"\\e]0;x\\a"',
        '"line\\nline"',
        '"\\u2028"',
        '"<script>alert(1)</script>"',
        '"[/x]"',
        '"{0}"',
        "'%s'",
    ),
    *('"../../etc/passwd"', "/dev/zero", "/dev/stdin", "fifo", "folder", ".", '"$(touch executed)"', "hostile_module"),
    *("!!bool maybe", "!!int ''", "!!int x", "!!float ''", "!!timestamp x", "!!map [a]", "!!binary /w==", "!!null x"),
    *("!!str [a]", "!!seq {a: 1}", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a: 1]", "!!omap x", "!!merge x"),
    *("!unknown x", "!!python/object/apply:os.system ['touch executed']", "!!python/name:os.system", "*missing", "@x"),
    *("&a {b: *a}", "&a [*a]", "{<<: 3}", "{<<: [1, {a: 2}]}", "&a {<<: *a}", "{? [a] : b}", "{? {a: b} : c}"),
    *("{null: 1}", "{1: 2}", "{.nan: 1}", "{2024-01-01: 1}", "{true: 1}", "{a: 1, a: 2}", "? a", "|\n  text", "%TAG"),
]
# Values for JSON, as text.
JSON_SCALARS = [
    *("null", "true", "false", "-1", "0", "3.5", "NaN", "Infinity", "-Infinity", "1e400", "9" * 400, "9" * 5000),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\u001b]0;x\\u0007"', '"a\\nb"', '"\\u2028"', '"[/x]"'),
    *('"<script>alert(1)</script>"', '"../../executed"', '"/dev/zero"', '"hostile_module"', '"$(touch executed)"'),
    *("[]", "{}", "[[]]", '{"a": 1}', "[1, 2, 3]", '{"a": 1, "a": 2}', '"' + "a" * 300 + '"', '"' + "a" * 10**5 + '"'),
    *("undefined", "01", "0x10", "1_000", "'a'", "[1,]", "/* */ 1", "1.", "+1", "-"),
]
MARK = "replaced_here"


def mutate_bytes(random, data: bytes) -> bytes:
    """Return the data with one to four bytes or ranges changed."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        data = _mutate_once(random, data)
    return data


def _mutate_once(random, data):
    size = len(data)
    first = random.randrange(size + 1)
    last = min(size, first + random.choice((1, 1, 2, 4, 16, 100, max(1, size // 3))))
    part = data[first:last]
    kind = random.randrange(8)
    if kind == 0 and part:  # a bit
        return data[:first] + bytes([part[0] ^ 1 << random.randrange(8)]) + data[first + 1 :]
    if kind == 1 and part:
        return data[:first] + random.randbytes(len(part)) + data[last:]
    if kind == 2 and part:
        return data[:first] + bytes([random.choice((0, 0xFF))]) * len(part) + data[last:]
    if kind == 3:
        return data[:first] + random.randbytes(random.choice((1, 4, 100))) + data[first:]
    if kind == 4:
        return data[:first] + part * random.choice((2, 3, 10)) + data[last:]
    if kind == 5:
        return data[:first]
    if kind == 6:
        target = random.randrange(size + 1)
        return data[:target] + part + data[target:]
    return data[:first] + data[last:]


def mutate_text(random, text: str) -> bytes:
    """Return the text with lines or characters changed, perhaps in another encoding."""
    lines = text.splitlines(keepends=True) or [""]
    for _ in range(random.choice((1, 1, 2, 3))):
        number = random.randrange(len(lines))
        kind = random.randrange(7)
        if kind == 0:
            del lines[number]
        elif kind == 1:
            lines.insert(random.randrange(len(lines) + 1), lines[number])
        elif kind == 2:
            lines[number] = " " * random.choice((1, 2, 7)) + lines[number]
        elif kind == 3:
            lines[number] = lines[number].lstrip()
        else:
            line, at = lines[number], random.randrange(len(lines[number]) + 1)
            marks = [*"\0\x1b\t\r\n:{}[]#&*!|>'\"%@`,?-\ufeff\u2028\xe9\U0001f600", "---\n", "...\n", "<<: "]
            added = random.choice(marks)
            lines[number] = line[:at] + added + line[at + (kind == 5) :]
        lines = lines or [""]
    text = "".join(lines)
    encoding = random.choice(("utf-8",) * 8 + ("utf-16", "utf-8-sig", "latin-1", "utf-7"))
    data = text.encode(encoding, "replace")
    return data + b"\xff\xfe" if random.random() < 0.03 else data


def paths(tree, above=()):
    """Yield the path of every node of a tree, as a tuple of keys and positions."""
    yield above
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield from paths(value, (*above, key))


def mutate_tree(random, tree):
    """Return a copy of a tree in which one node is deleted, renamed, doubled, wrapped, moved or marked.

    A marked node is the string MARK, for `fill` to replace in the text.
    """
    tree = json.loads(json.dumps(tree, default=str))
    path = random.choice([path for path in paths(tree) if path] or [()])
    if not path:
        return MARK
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    key, kind = path[-1], random.randrange(10)
    if kind == 0:
        del parent[key]
    elif kind == 1 and isinstance(parent, dict):
        parent[random.choice(("unknown", key + "s", key.upper(), "", " ", "a.b", "__class__"))] = parent.pop(key)
    elif kind == 2:
        parent[key] = [parent[key]] * random.choice((1, 2, 50))
    elif kind == 3:
        parent[key] = {"a": parent[key]}
    elif kind == 4:
        other = random.choice([other for other in paths(tree) if other])
        value = tree
        for part in other:
            value = value[part]
        parent[key] = json.loads(json.dumps(value))
    else:
        parent[key] = MARK
    return tree


def fill(random, text: str, scalars: list[str]) -> str:
    """Return the text with a hostile value in place of the marked node."""
    return text.replace(f'"{MARK}"', random.choice(scalars)).replace(MARK, random.choice(scalars))


def mutate_yaml(random, text: str, bombs=()) -> bytes:
    """Return YAML with changed text, a changed tree, or one of `bombs` in place of a node."""
    kind = random.random()
    if kind < 0.3:
        return mutate_text(random, text) if random.random() < 0.8 else mutate_bytes(random, text.encode())
    documents = list(yaml.safe_load_all(text))
    number = random.randrange(len(documents))
    if kind < 0.8 or not bombs:
        documents[number] = mutate_tree(random, documents[number])
        dumped = yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=random.random() < 0.3)
        return fill(random, dumped, SCALARS).encode()
    tree = documents[number]
    while MARK not in json.dumps(tree, default=str):
        tree = mutate_tree(random, documents[number])
    documents[number] = tree
    before, value = random.choice(bombs)(random)
    texts = [yaml.safe_dump(document, sort_keys=False) for document in documents]
    texts[number] = before + texts[number].replace(MARK, value)  # aliases are known within their document only
    return "---\n".join(texts).encode()


def mutate_json(random, text: str, bombs=()) -> bytes:
    """Return JSON with changed text, a changed tree, or one of `bombs` in place of a node."""
    kind = random.random()
    if kind < 0.3:
        return mutate_text(random, text) if random.random() < 0.5 else mutate_bytes(random, text.encode())
    tree = mutate_tree(random, json.loads(text))
    dumped = json.dumps(tree, indent=random.choice((None, 2)))
    if kind < 0.85 or not bombs:
        return fill(random, dumped, JSON_SCALARS).encode()
    return dumped.replace(f'"{MARK}"', random.choice(bombs)(random)).encode()
