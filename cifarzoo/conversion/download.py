"""Download other projects' checkpoints, and check them by whatever is known about them.

A file gets its name when it is complete and checked; until then it is called NAME.part.
"""

import contextlib
import errno
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from cifarzoo.conversion.entries import File, HashKind
from cifarzoo.conversion.hashes import difference
from cifarzoo.errors import WeightsError, summarize
from cifarzoo.npz import check_directory, check_members
from cifarzoo.runs import atomic
from cifarzoo.runs.locks import locked
from cifarzoo.transfer import Progress
from cifarzoo.transfer.web_pages import drive_id

Read = Callable[[Path], object]

# File names that a source gives to several files, which lie in folders of their own there.
COMMON_NAME = re.compile(r"(pytorch_model|model|checkpoint|ckpt|best|last|final)([_.-].*)?")


def fetch(file: File, folder: Path, progress: Progress | None = None, read: Read | None = None) -> Path:
    """Return the path of a file in a folder, checked; download it unless it is there, and unpack it if it is a zip.

    An interrupted download is continued. Of several processes that ask for the same file, one downloads it.

    Args:
        file: The file.
        folder: Where it is, or will be.
        progress: Called with the bytes that have arrived, and all that are expected, if known.
        read: Reads the content; raises WeightsError if it is damaged. It is called for downloads without a known hash,
            where nothing else tells a part of the file, or a server's message, from the file.

    Raises:
        WeightsError: the file cannot be had, or is not the one that the table describes. The message says where to put
            a file that was downloaded by other means.
    """
    name = file_name(file)
    whole = folder / name
    target = folder / file.member if file.member else whole
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f"{name}.lock", wait=True):
            if target.exists():
                check(target, file)
                return target
            if whole.exists():
                return unpack(whole, file, folder)
            return _download(file, whole, target, progress, read)
    except OSError as failure:
        text = "no space is left" if failure.errno == errno.ENOSPC else failure.strerror or str(failure)
        raise WeightsError(f"{folder}: cannot be written ({text})") from None


def _download(file: File, whole: Path, target: Path, progress: Progress | None, read: Read | None) -> Path:
    from cifarzoo.transfer import transfer  # here, because reading the table must not start `requests`

    part = whole.with_name(f"{whole.name}.part")
    for is_last in (False, True):
        try:
            resumed = transfer.transfer(file.url, part, file.size, progress)
        except WeightsError as failure:
            text = f"{file.url}: {failure}; download it by other means and put it at {whole}"
            raise type(failure)(text) from None
        try:
            if target != whole:
                unpack(part, file, whole.parent)
            else:
                check(part, file)
                if read and not file.hashes:
                    read(part)
                atomic.replace(part, whole)
        except WeightsError as failure:
            transfer.discard(part)
            if resumed and not is_last:  # its first part may be of another version
                continue
            reason = str(failure).removeprefix(f"{part}: ").removesuffix("; delete it")
            raise WeightsError(f"{file.url}: {reason}: its authors replaced it, or the download is damaged") from None
        transfer.discard(part)
        break
    return target


def is_there(file: File, folder: Path) -> bool:
    """Whether a folder has a file, or the member of its zip, so that `fetch` needs no network."""
    return any((folder / name).exists() for name in (file_name(file), file.member) if name)


def file_name(file: File) -> str:
    """Return the name of a file here: the last part of its address, with what makes it unique where that is common."""
    if identity := drive_id(file.url):
        return re.sub("[^A-Za-z0-9_-]", "_", identity)
    parts = urlsplit(file.url)
    folders = [unquote(part) for part in parts.path.split("/") if part]
    name = folders[-1] if folders else "file"
    if COMMON_NAME.fullmatch(name) and len(folders) > 1:
        # The address of a file on Hugging Face is /OWNER/NAME/resolve/REVISION/FILE.
        name = f"{folders[1] if parts.hostname == 'huggingface.co' else folders[-2]}-{name}"
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", name).lstrip(".") or "file"


def check(path: Path, file: File) -> None:
    """Check a file by its length and all hashes that are known.

    Args:
        path: The file as it is published, or the member of the zip that is published.
        file: What the table says about it.

    Raises:
        WeightsError: it is another file, does not exist, or its zip is damaged. OSError: it cannot be read.
    """
    if not path.is_file():  # opening a pipe could wait forever
        kind = "is a folder" if path.is_dir() else "is not a regular file" if path.exists() else "does not exist"
        raise WeightsError(f"{path}: {kind}")
    size = path.stat().st_size
    of_zip = file.hashes.copy()
    of_member: dict[HashKind, str] = {}
    if "sha1_of_member" in of_zip:
        of_member["sha1_of_member"] = of_zip.pop("sha1_of_member")
    is_member = file.member is not None and not is_zip_of(path, file.member)
    if not is_member and file.size is not None and file.size != size:
        raise WeightsError(f"{path}: not the published file: {size:,} bytes instead of {file.size:,}; delete it")
    with open(path, "rb") as opened:
        problem = difference(opened, size, of_member if is_member else of_zip)
    if not problem and file.member and not is_member:
        with _opened_member(path, file.member) as (content, length):
            problem = difference(content, length, of_member)
    if problem:
        raise WeightsError(f"{path}: not the published file: {problem}; delete it")


def unpack(path: Path, file: File, folder: Path) -> Path:
    """Check a zip, unpack its one member of the expected name into a folder, and return the member's path there.

    A file that is the member itself, under whatever name, is copied.

    Raises:
        WeightsError: the zip is damaged, claims to expand too much, or is not the published one. OSError: the member
            cannot be written.
    """
    check(path, file)
    target = folder / (file.member or path.name)
    with contextlib.ExitStack() as stack:
        content: IO[bytes]
        if file.member and is_zip_of(path, file.member):
            content, _ = stack.enter_context(_opened_member(path, file.member))
        else:
            content = stack.enter_context(open(path, "rb"))
        with atomic.replacing(target, shared=True) as temporary, open(temporary, "wb") as output:
            shutil.copyfileobj(content, output)
    return target


def is_zip_of(path: Path, name: str) -> bool:
    """Whether a file is a zip around a member of this name; an .npz file is a zip, too."""
    try:
        with open(path, "rb") as file:
            check_directory(file)
        with zipfile.ZipFile(path) as archive:
            return any(_last_part(member) == name for member in archive.infolist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


@contextlib.contextmanager
def _opened_member(path: Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """Open the member of a zip and yield it with its length; where folders of the zip lead does not matter.

    Raises:
        WeightsError: the zip is damaged, claims to expand too much, or has several members of the name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_members(archive.infolist(), path.stat().st_size)
            (member,) = (member for member in archive.infolist() if _last_part(member) == name)
            with archive.open(member) as content:
                yield content, member.file_size
    except WeightsError:
        raise
    except (ValueError, EOFError, NotImplementedError, RuntimeError, zlib.error, zipfile.BadZipFile) as failure:
        raise WeightsError(f"{path}: a damaged zip ({summarize(failure)}); delete it") from None


def _last_part(member: zipfile.ZipInfo) -> str:
    return member.filename.rsplit("/", 1)[-1]
