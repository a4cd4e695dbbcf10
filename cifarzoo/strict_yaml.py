"""YAML as people mean it: a key that comes twice is an error, and 1e-4 is a number, as in YAML 1.2."""

import re

import yaml

Error = yaml.YAMLError


class _Loader(yaml.SafeLoader):
    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for place, key in enumerate(keys):
            if key in keys[:place]:
                problem = f"the key {key} comes twice"
                raise yaml.constructor.ConstructorError(None, None, problem, node.value[place][0].start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)


def parse_all(text: str) -> list:
    """The documents of a text.

    Raises:
        Error: it is not YAML, a key comes twice, or a value is none, such as 2024-02-30; it may have a `problem` and a
            `problem_mark` with the line.
    """
    try:
        return list(yaml.load_all(text, _Loader))
    except ValueError as failure:
        raise Error(str(failure)) from None


def parse(text: str):
    """The one document of a text, None if it is empty.

    Raises:
        Error: as `parse_all`, or there are several.
    """
    documents = parse_all(text)
    if len(documents) > 1:
        raise Error(f"one document is expected, there are {len(documents)}")
    return documents[0] if documents else None
