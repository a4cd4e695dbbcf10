"""Download the official CIFAR archives into Keras' cache, checked by the hashes that Keras' own data sets state.

`keras.utils.get_file` would write in place, so that a killed process leaves half an archive under the final name; it
waits without limit for a server that hangs, prints on standard output, and starts Keras before an experiment could
choose the backend. The transfer here continues where an interrupted one ended.
"""

from pathlib import Path

import filelock

from cifarzoo.checksum import sha256
from cifarzoo.data.pictures import Progress
from cifarzoo.errors import DataError, WeightsError
from cifarzoo.notebook import say

SERVER = "https://www.cs.toronto.edu/~kriz"
# Name and SHA-256 of the python archives, from keras.datasets.
ARCHIVES = {
    "cifar10": ("cifar-10-python.tar.gz", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
    "cifar100": ("cifar-100-python.tar.gz", "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"),
}


def download(dataset: str, folder: Path) -> Path:
    """Return the path of the archive of "cifar10" or "cifar100" in a folder; download it unless it is there.

    Of several processes that ask for it, one downloads it. The archive gets its name once it is complete and checked.

    Raises:
        DataError: the server cannot be reached or sends something else, or the folder cannot be written. What has
            arrived stays, and the next call continues; an archive with another hash is deleted.
    """
    from cifarzoo.transfer import transfer  # here, because loading from the disk must not start `requests`

    name, expected = ARCHIVES[dataset]
    path, url = folder / name, f"{SERVER}/{name}"
    part = folder / f"{name}.part"
    progress = Progress(f"{dataset}: downloading {url} to {folder}")

    def show(arrived: int, total: int | None) -> None:
        if total:
            progress(arrived / total)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / f"{name}.lock"):
            if not path.is_file():
                transfer.transfer(url, part, None, show)
                if (actual := sha256(part)) != expected:
                    transfer.discard(part)
                    raise DataError(
                        f"{url}: damaged on its way: sha256 {actual[:16]}... instead of {expected[:16]}...; try again"
                    )
                part.replace(path)
                transfer.discard(part)
                say(f"{dataset}: downloaded to {path}")
    except WeightsError as failure:
        raise DataError(f"{url}: {failure}") from None
    except OSError as failure:
        raise DataError(f"{folder}: cannot be written ({failure.strerror or failure})") from None
    return path
