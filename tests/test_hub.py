"""`cifarzoo push` to a local stand-in for the Hugging Face Hub, and Keras' `load_model("hf://...")` from it."""

import base64
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from cifarzoo.errors import WeightsError
from cifarzoo.pretrained.files import find
from cifarzoo.pretrained.manifest import find_entry, manifest
from cifarzoo.publishing.cards import card
from cifarzoo.publishing.hub import push
from cifarzoo.publishing.model_index import front_matter

huggingface_hub = pytest.importorskip("huggingface_hub")
ROOT = Path(__file__).parent.parent
TAG = "resnet20_v1_cifar10_200ep_s0"
REPOSITORY, COMMIT = "me/resnet20", "0123456789abcdef0123456789abcdef01234567"


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does: creates a repository, takes one commit of plain files, and gives the files back."""

    def do_POST(self):
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != "Bearer hf_right":
            return self.answer({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(content)
            self.server.created = asked | {"private": asked.get("private") or asked.get("visibility") == "private"}
            return self.answer({"url": f"{self.server.address}/{REPOSITORY}"})
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.path == f"/api/models/{REPOSITORY}/preupload/main":
            files = json.loads(content)["files"]
            return self.answer(
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
            )
        assert self.path == f"/api/models/{REPOSITORY}/commit/main"
        for line in map(json.loads, content.splitlines()):
            if line["key"] == "file":
                self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        url = f"{self.server.address}/{REPOSITORY}/commit/{COMMIT}"
        return self.answer({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    def do_GET(self):
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{REPOSITORY}/tree/"):
            return self.answer(
                [
                    {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                    for name, data in self.server.files.items()
                ]
            )
        if path.startswith(f"/api/models/{REPOSITORY}"):
            if self.server.created is None:
                return self.answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            siblings = [{"rfilename": name} for name in (".gitattributes", *self.server.files)]
            private = self.server.created["private"]
            return self.answer({"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "private": private})
        name = path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/")
        if name not in self.server.files:
            return self.answer({"error": "Entry not found"}, 404)
        return self.answer(self.server.files[name])

    def do_HEAD(self):
        self.do_GET()

    def answer(self, content, status=200, headers=None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if data is content else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_):
        """Write no log."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """The stand-in, and a function that runs Python with it as the Hub."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.created, server.files, server.address = None, {}, f"http://127.0.0.1:{server.server_address[1]}"
    folder = tmp_path_factory.mktemp("hub")
    kept = {key: value for key, value in os.environ.items() if "proxy" not in key.lower() and key != "PYTHONPATH"}
    own = {"HF_ENDPOINT": server.address, "HF_HOME": str(folder), "HF_TOKEN": "hf_right", "KERAS_BACKEND": "jax"}

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            env=kept | own | environment,
        )

    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server, run
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def pushed(hub):
    server, run = hub
    result = run("-m", "cifarzoo", "push", TAG, f"hf://{REPOSITORY}", "--private", PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == f"{server.address}/{REPOSITORY}/commit/{COMMIT}"
    return server, run


def test_the_files_are_those_of_keras_with_card_and_published_file(pushed):
    server, _ = pushed
    assert server.created["name"] == "resnet20" and server.created["organization"] == "me"
    assert set(server.files) == {
        "config.json",
        "metadata.json",
        "model.weights.h5",
        f"{TAG}.weights.h5",
        "README.md",
    }
    published = find_entry(TAG, manifest())
    assert hashlib.sha256(server.files[f"{TAG}.weights.h5"]).hexdigest() == published.sha256
    assert f'keras.saving.load_model("hf://{REPOSITORY}", compile=False)' in server.files["README.md"].decode()


def test_keras_alone_opens_what_was_pushed(pushed):
    _, run = pushed
    code = f"""
import sys, keras, numpy as np
model = keras.saving.load_model("hf://{REPOSITORY}", compile=False)
with np.load({str(find(f"{TAG}.golden.npz"))!r}) as golden:
    np.testing.assert_allclose(model(golden["images"].astype("float32")), golden["logits"], rtol=1e-3, atol=1e-3)
assert not any(name.startswith("cifarzoo") for name in sys.modules)
"""
    result = run("-c", code)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    ("options", "environment", "message"),
    [
        (["--overwrite"], {"HF_TOKEN": "hf_wrong"}, ": not uploaded: .*hf auth login"),
        ([], {"HF_TOKEN": ""}, ": not logged in to the Hugging Face Hub: .*hf auth login.*HF_TOKEN"),
        ([], {}, ": holds README.md, config.json, metadata.json and 2 more already; .*--overwrite"),
        (["--overwrite", "--private"], {}, ": exists and is public; make it private"),
        ([], {"HF_ENDPOINT": "http://127.0.0.1:9"}, ": http://127.0.0.1:9 cannot be reached: "),
        ([], {"HF_HUB_OFFLINE": "1"}, ": http://127.0.0.1:[0-9]+ cannot be reached: "),
    ],
)
def test_what_the_hub_refuses_is_one_line(pushed, monkeypatch, options, environment, message):
    server, run = pushed
    monkeypatch.setitem(server.created, "private", False)
    before = dict(server.files)
    command = ("-m", "cifarzoo", "push", TAG, f"hf://{REPOSITORY}", *options)
    result = run(*command, PYTHONPATH=str(ROOT), **environment)
    (line,) = [line for line in result.stderr.splitlines() if "error: " in line]
    assert result.returncode == 1 and re.search(f"error: hf://{REPOSITORY}{message}", line), line
    assert "Traceback" not in result.stderr and server.files == before


def test_what_is_asked_to_be_replaced_is_replaced(pushed):
    server, run = pushed
    before, server.files["README.md"] = dict(server.files), b"mine"
    result = run("-m", "cifarzoo", "push", TAG, f"hf://{REPOSITORY}", "--overwrite", PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stderr
    assert server.files["README.md"] == before["README.md"] and set(server.files) == set(before)


@pytest.mark.parametrize(
    ("tag", "destination", "message"),
    [
        ("no_such_tag", "hf://me/x", "no_such_tag: not published weights; `cifarzoo list --pretrained` shows all"),
        (TAG, "hf://me", "hf://me: expected hf://USER/REPOSITORY, or the path of a new folder"),
        (TAG, "hf://me/../x", "hf://me/../x: expected hf://USER/REPOSITORY, or the path of a new folder"),
        (TAG, "https://huggingface.co/me/x", "https://huggingface.co/me/x: expected hf://USER/REPOSITORY, or the"),
        (TAG, "hf://me/a--b", "hf://me/a--b: not a name for a repository: Cannot have -- or .. in repo_id"),
        (TAG, ".", "^.: exists already, and is not empty; choose .*, or hf://USER/REPOSITORY, or .* --overwrite"),
        (TAG, __file__, "test_hub.py: a file of this name exists; choose another folder"),
    ],
)
def test_what_cannot_be_pushed_is_one_line(tag, destination, message):
    with pytest.raises(WeightsError, match=message):
        push(tag, destination)


def test_without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if it were not installed
    with pytest.raises(WeightsError, match='hf://me/x: needs huggingface_hub: pip install "huggingface_hub>=0.30" '):
        push(TAG, "hf://me/x")


def test_a_folder_instead_of_the_hub_opens_in_keras_and_says_what_it_needs(tmp_path):
    import keras

    entry = next(entry for entry in manifest() if entry.model == "cifar_airbench94")  # with layers of cifarzoo's own
    assert push(entry.tag, str(tmp_path / "model")) == str(tmp_path / "model")
    model = keras.saving.load_model(tmp_path / "model", compile=False)
    with np.load(find(entry.golden)) as golden:
        logits = np.asarray(model(golden["images"].astype("float32")))
        np.testing.assert_allclose(logits, golden["logits"], rtol=1e-3, atol=1e-3)
    text = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "import cifarzoo.layers" in text and "without cifarzoo" not in text
    assert "The 10 outputs, in this order: airplane, automobile, bird, " in text
    assert os.listdir(tmp_path) == ["model"]
    (tmp_path / "model" / "README.md").write_text("mine")
    (tmp_path / "model" / "notes").write_text("mine")
    push(entry.tag, str(tmp_path / "model"), overwrite=True)
    assert (tmp_path / "model" / "README.md").read_text(encoding="utf-8") == text
    assert (tmp_path / "model" / "notes").read_text() == "mine"


def test_other_data_sets_have_no_name_on_the_hub():
    front = front_matter(replace(manifest()[0], dataset="synthetic"))
    metadata = yaml.safe_load(front.strip("-\n"))
    assert "datasets" not in metadata
    assert metadata["model-index"][0]["results"][0]["dataset"] == {
        "type": "synthetic",
        "name": "synthetic",
        "split": "test",
    }


@pytest.mark.parametrize("dataset, classes", [("cifar10", 10), ("cifar100_coarse", 20), ("synthetic", 10)])
def test_a_card_names_its_own_file_although_it_is_the_default(dataset, classes):
    entry = replace(manifest()[0], dataset=dataset, classes=classes, default=True)
    assert f"classes={classes}, load_weights='{entry.tag}')" in card(entry)


@pytest.mark.parametrize("entry", manifest(), ids=lambda entry: entry.tag)
def test_the_hub_reads_the_results_of_every_card(entry):
    card = huggingface_hub.ModelCard.load(ROOT / "weights" / f"{entry.tag}.md")
    assert card.data.model_name == entry.tag and card.data.license == "mit"
    results = {result.metric_type: result for result in card.data.eval_results}
    assert {result.dataset_split for result in results.values()} == {"test"}
    assert results["accuracy"].metric_value == pytest.approx(1 - entry.metrics["error"] / 100, abs=1e-6)
    assert results["nll"].metric_value == pytest.approx(entry.metrics["nll"], abs=1e-6)
    assert results["accuracy"].dataset_type == f"uoft-cs/{entry.dataset}"
    index = yaml.safe_load(card.content.split("---")[1])["model-index"]
    assert [result["task"]["type"] for result in index[0]["results"]] == ["image-classification"]
