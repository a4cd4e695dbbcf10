"""Put published weights on the Hugging Face Hub, as a folder that Keras alone opens where the network allows it."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cifarzoo.data.classes import CLASS_NAMES
from cifarzoo.errors import CifarzooError, WeightsError, summarize
from cifarzoo.extras import install_command
from cifarzoo.pretrained.manifest import Published, find_entry, manifest
from cifarzoo.pretrained.selection import weight_file
from cifarzoo.publishing.cards import card

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
REPOSITORY = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"
# What the Hub itself puts into a new repository.
OF_THE_HUB = {".gitattributes"}
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


def push(tag: str, destination: str, private: bool = False, overwrite: bool = False) -> str:
    """Upload published weights with their card to the Hugging Face Hub, or write the same files to a folder.

    The files are those of `keras.saving.save_model`, the published weight file, and README.md. The Hub is the one of
    `$HF_ENDPOINT`, and the user is the one of `$HF_TOKEN` or `hf auth login`.

    Args:
        tag: The weights.
        destination: `hf://USER/REPOSITORY`, which is created unless it exists, or the path of a folder.
        private: Whether the repository is private. An existing one is never changed from public to private.
        overwrite: Replace files of the same names in a repository or folder that holds some. Others stay.

    Returns:
        The address of the commit, or the folder.

    Raises:
        WeightsError: no such weights, another destination, one that holds files already, huggingface_hub is not
            installed, there is no token, or the Hub refuses or cannot be reached.
        OSError: the folder cannot be written.
    """
    entry = find_entry(tag, manifest())
    if entry is None:
        raise WeightsError(f"{tag}: not published weights; `cifarzoo list --pretrained` shows all")
    if "://" not in destination:
        return str(_push_to_folder(entry, Path(destination).expanduser(), destination, overwrite))
    repository = destination.removeprefix(SCHEME)
    if not destination.startswith(SCHEME) or not re.fullmatch(REPOSITORY, repository):
        raise WeightsError(f"{destination}: expected {SCHEME}USER/REPOSITORY, or the path of a new folder")
    try:
        import huggingface_hub
        from huggingface_hub.utils import validate_repo_id
    except ImportError as failure:
        raise WeightsError(f"{destination}: needs huggingface_hub: {install_command('hub')} ({failure})") from None
    try:
        validate_repo_id(repository)
    except ValueError as failure:
        raise WeightsError(f"{destination}: not a name for a repository: {failure}") from None
    if not huggingface_hub.get_token():
        raise WeightsError(f"{destination}: not logged in to the Hugging Face Hub: {LOGIN}")
    api = huggingface_hub.HfApi(library_name="keras")
    with _refusals(destination, api.endpoint):
        _check_repository(api, repository, destination, private, overwrite)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        _write(entry, folder, destination)  # first of all, as a failure would leave an empty repository
        with _refusals(destination, api.endpoint):
            api.create_repo(repository, private=private, exist_ok=True)
            message = f"{entry.tag} from cifarzoo"
            return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message))


def _push_to_folder(entry: Published, folder: Path, destination: str, overwrite: bool) -> Path:
    """Write the files to a folder, which appears only when it is complete."""
    if folder.exists() and not folder.is_dir():
        raise WeightsError(f"{folder}: a file of this name exists; choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise WeightsError(
            f"{folder}: exists already, and is not empty; choose another folder, or {SCHEME}USER/REPOSITORY, or "
            "replace the files with --overwrite"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.part", dir=folder.parent) as temporary:
        _write(entry, Path(temporary) / "model", destination)
        shutil.copytree(Path(temporary) / "model", folder, dirs_exist_ok=True)
    return folder


def _check_repository(api: "HfApi", repository: str, destination: str, private: bool, overwrite: bool) -> None:
    """Raise WeightsError if a repository exists and would be overwritten, or shown to everybody, unasked."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.model_info(repository)
    except RepositoryNotFoundError:
        return
    names = sorted({sibling.rfilename for sibling in info.siblings or ()} - OF_THE_HUB)
    if names and not overwrite:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise WeightsError(
            f"{destination}: holds {', '.join(names[:3])}{more} already; choose another repository, or replace the "
            "files with --overwrite"
        )
    if private and not info.private:
        raise WeightsError(f"{destination}: exists and is public; make it private in its settings on the Hub first")


@contextlib.contextmanager
def _refusals(destination: str, endpoint: str) -> Iterator[None]:
    """Turn whatever the Hub, its client or the network raise into one line."""
    try:
        yield
    except CifarzooError:
        raise
    except Exception as failure:
        status = getattr(getattr(failure, "response", None), "status_code", None)
        if status is None and (isinstance(failure, OSError) or type(failure).__module__.startswith("httpx")):
            raise WeightsError(f"{destination}: {endpoint} cannot be reached: {summarize(failure)}") from None
        advice = f"; {LOGIN}" if status in (401, 403) else ""
        raise WeightsError(f"{destination}: not uploaded: {summarize(failure)}{advice}") from None


def _write(entry: Published, folder: Path, destination: str) -> None:
    """Write the folder: config.json, metadata.json and model.weights.h5 by Keras, the published file, README.md."""
    import keras  # only now, as both take seconds

    from cifarzoo.models.load import load

    keras.saving.save_model(load(entry.tag), folder, zipped=False)
    shutil.copyfile(weight_file(entry), folder / entry.file)  # which the card describes
    own = "cifarzoo>" in (folder / "config.json").read_text(encoding="utf-8")
    (folder / "README.md").write_text(card(entry, _usage(entry, destination, own)), encoding="utf-8")


def _usage(entry: Published, destination: str, own: bool) -> str:
    """Return the lines of the card that say how to open the folder, and what the outputs mean."""
    registering = "    import cifarzoo.layers  # some layers of this network are not Keras' own\n" if own else ""
    without = "" if own else ", without cifarzoo"
    names = CLASS_NAMES[entry.dataset][0] if entry.dataset in CLASS_NAMES else ()
    outputs = f"The {len(names)} outputs, in this order: {', '.join(names)}.\n\n" if names else ""
    return f"""{outputs}With Keras{without}:

{registering}    import keras
    model = keras.saving.load_model("{destination}", compile=False)

With cifarzoo, which can also change the number of classes and fine-tune:
"""
