"""Put published weights on the Hugging Face Hub, as a folder that Keras alone opens where the network allows it."""

import re
import shutil
import tempfile
from pathlib import Path

from cifarzoo.errors import CifarzooError, WeightsError, summarize
from cifarzoo.pretrained.manifest import Published, find_entry, manifest
from cifarzoo.pretrained.selection import weight_file
from cifarzoo.publishing.cards import card

SCHEME = "hf://"
REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


def push(tag: str, destination: str, private: bool = False) -> str:
    """Upload published weights with their card to the Hugging Face Hub, or write the same files to a folder.

    The files are those of `keras.saving.save_model`, the published weight file, and README.md. The Hub is the one of
    `$HF_ENDPOINT`, and the user is the one of `$HF_TOKEN` or `hf auth login`.

    Args:
        tag: The weights.
        destination: `hf://USER/REPOSITORY`, which is created unless it exists, or the path of a new folder.
        private: Whether a repository that is created is private.

    Returns:
        The address of the commit, or the folder.

    Raises:
        WeightsError: no such weights, another destination, huggingface_hub is not installed, the Hub refuses or cannot
            be reached, or the folder exists already.
        OSError: the folder cannot be written.
    """
    entry = find_entry(tag, manifest())
    if entry is None:
        raise WeightsError(f"{tag}: not published weights; `cifarzoo list --pretrained` shows all")
    if not destination.startswith(SCHEME):
        folder = Path(destination).expanduser()
        if folder.exists():
            raise WeightsError(f"{folder}: exists already; choose another folder, or {SCHEME}USER/REPOSITORY")
        _write(entry, folder, destination)
        return str(folder)
    repository = destination.removeprefix(SCHEME)
    if not re.fullmatch(REPOSITORY, repository):
        raise WeightsError(f"{destination}: expected {SCHEME}USER/REPOSITORY, or the path of a new folder")
    try:
        import huggingface_hub
    except ImportError as failure:
        raise WeightsError(f"{destination}: needs huggingface_hub: pip install 'cifarzoo[hub]' ({failure})") from None
    api = huggingface_hub.HfApi(library_name="keras")
    message = f"{entry.tag} from cifarzoo"
    try:
        api.create_repo(repository, private=private, exist_ok=True)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            _write(entry, folder, destination)
            return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message))
    except CifarzooError:
        raise
    except Exception as failure:  # whatever the Hub, its client or the network raise
        status = getattr(getattr(failure, "response", None), "status_code", None)
        login = "; log in with `hf auth login`, or set HF_TOKEN to a token that may write"
        advice = login if status in (401, 403) else ""
        raise WeightsError(f"{destination}: not uploaded: {summarize(failure)}{advice}") from None


def _write(entry: Published, folder: Path, destination: str) -> None:
    """Write the folder: config.json, metadata.json and model.weights.h5 by Keras, the published file, README.md."""
    import keras  # only now, as both take seconds

    from cifarzoo.models.load import load

    keras.saving.save_model(load(entry.tag), folder, zipped=False)
    shutil.copyfile(weight_file(entry), folder / entry.file)  # which the card describes
    own = "cifarzoo>" in (folder / "config.json").read_text(encoding="utf-8")
    (folder / "README.md").write_text(card(entry, _usage(destination, own)), encoding="utf-8")


def _usage(destination: str, own: bool) -> str:
    """Return the lines of the card that say how to open the folder."""
    registering = "    import cifarzoo.layers  # some layers of this network are not Keras' own\n" if own else ""
    without = "" if own else ", without cifarzoo"
    return f"""With Keras{without}:

{registering}    import keras
    model = keras.saving.load_model("{destination}", compile=False)

With cifarzoo, which can also change the number of classes and fine-tune:
"""
