"""The table of other projects' checkpoints: every value, and how entries are found."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cifarzoo.conversion import entries as table
from cifarzoo.data.statistics import statistics_from
from cifarzoo.errors import WeightsError
from cifarzoo.models.catalogue import catalogue
from cifarzoo.pretrained.selection import foreign_entry
from cifarzoo.typed_record import check_types

ROOT = Path(__file__).parent.parent
ENTRIES = table.entries()
DIGITS = {"sha256": 64, "sha1_of_member": 40, "git_blob": 40}
SELECTIONS = {"last epoch", "best on test", "probably best on test", "not stated"}


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=lambda entry: entry.name)
def test_values(entry):
    check_types(entry)
    assert re.fullmatch(r"[a-z_]+/[\w.\-]+", entry.name)
    assert entry.dataset == f"cifar{entry.classes}"
    assert entry.selection in SELECTIONS
    assert entry.protocol and entry.license and entry.layout
    assert set(entry.arguments) <= set(catalogue()[entry.factory].arguments)
    assert statistics_from(entry.statistics) == entry.statistics  # known numbers go by their name
    assert entry.error is None or 0 < entry.error < 50
    for address in (entry.homepage, entry.license_url):
        assert address.startswith("https://")
    assert entry.files
    for file in [file for alternative in entry.files for file in alternative]:
        assert file.format in ("torch", "npz", "tensorflow", "keras")
        assert urlsplit(file.url).scheme in (("https", "http") if entry.source == "repdistiller" else ("https",))
        assert file.size is None or file.size > 1000
        for kind, digits in file.hashes.items():
            assert re.fullmatch("[0-9a-f]+", digits)
            assert len(digits) == DIGITS.get(kind, len(digits)) >= 8
        assert (file.member is not None) == ("sha1_of_member" in file.hashes)
        if file.member:
            assert file.url.endswith(f"/{file.member}.zip")
            assert file.hashes["sha1_of_member"][:8] in file.member
            assert f"-{round(100 * entry.error):04d}-" in file.member


def test_names_and_addresses_are_unique():
    urls = [file.url for entry in ENTRIES.values() for alternative in entry.files for file in alternative]
    assert len(urls) == len(set(urls))
    assert (
        len({name.lower() for name in ENTRIES})
        == len(ENTRIES)
        == sum(path.read_text(encoding="utf-8").count('"name": ') for path in table.SOURCES.glob("*.json"))
    )


def test_documents_count_the_hashes_that_are_known():
    count = Counter(entry.hashed for entry in ENTRIES.values())
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/foreign_weights.md")]
    numbers = [count["yes"], count["in part"], count["no"]]
    assert sum(numbers) == len(ENTRIES)
    text = "{} checkpoints have one for every file, {} for some of their files, {} for none".format(*numbers)
    assert text in " ".join(pages[0].split())
    assert re.search(
        r"{} have a hash for every file, {} \(.*?\) for some of .*?, and {} for none".format(*numbers), pages[1]
    )


def test_every_source_has_a_file():
    assert {entry.source for entry in ENTRIES.values()} == {path.stem for path in table.SOURCES.glob("*.json")}
    assert len(table.matching("osmr")) == 63


def test_files_with_non_commercial_licenses_are_left_out():
    assert {entry.license for entry in ENTRIES.values()} <= {"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0"}


def test_find_in_any_case():
    assert table.find("OSMR/WRN28_10_cifar10") is ENTRIES["osmr/wrn28_10_cifar10"]
    assert table.find("robustbench/rice2020overfitting_cifar10_linf").arguments == {"depth": 34, "width": 20}


@pytest.mark.parametrize(
    "name, suggestion",
    [
        ("osmr/wrn28_20_cifar10", "did you mean osmr/wrn28_10_cifar10 or osmr/wrn28_10_cifar100? "),
        ("resnet1202", "did you mean akamaster/resnet1202 or "),
        ("zzz\n", "zzz\\n: no such checkpoint; `cifarzoo import --list` shows all"),
    ],
)
def test_unknown_name(name, suggestion):
    with pytest.raises(WeightsError, match=re.escape(suggestion)):
        table.find(name)


@pytest.mark.parametrize("name", ["akamaster", "AkaMaster/"])
def test_the_name_of_a_source(name):
    with pytest.raises(WeightsError, match=f"^{name}: is a source of . checkpoints, such as akamaster/resnet.*--list"):
        foreign_entry(name)


def test_matching():
    names = [entry.name for entry in table.matching("*/RESNET20*", "cifar100")]
    assert names == ["osmr/resnet20_cifar100"]
    assert [entry.name for entry in table.matching("cifar100_resnet20")] == ["chenyaofo/cifar100_resnet20"]
    assert [entry.name for entry in table.matching("vainf/*")] == ["vainf/cifar10_resnet56"]
    assert table.matching("nothing") == []


def test_layout_depends_on_the_format():
    entry = ENTRIES["osmr/resnet20_cifar10"]
    assert [entry.layout_of(form) for form in ("npz", "torch", "keras")] == ["chainercv", "pytorchcv", "tf2cv"]
    assert ENTRIES["akamaster/resnet20"].layout_of("torch") == "akamaster"


def test_reading_imports_neither_keras_nor_tensorflow():
    code = """if True:
        import sys
        from cifarzoo.conversion.entries import entries
        print(len(entries()), {"keras", "numpy", "tensorflow"} & set(sys.modules))"""
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == f"{len(ENTRIES)} set()\n"
    )
