"""Downloads a public data set: resumes, checks the hash, unpacks safely, and says which licence applies.

No hashes published by the authors of the MVTec data sets are known here. Those of the whole archives (sha256) are the
ones that anomalib's source records and other public projects confirm. Of the archives of single categories only MD5
values are on public record, in one project (a second one agrees on transistor): they find a damaged download, but
would not stop somebody who replaced the archive on purpose.

The standard library downloads and unpacks. pooch resumes no broken download, follows redirects to any host and brings
requests with it, so it would not shorten this file.
"""

from __future__ import annotations

import contextlib
import http.client
import lzma
import os
import re
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPMessage
from pathlib import Path, PurePosixPath
from typing import IO, Literal

from blemish.errors import DataError, OutputError, SettingsError
from blemish.files import hash_file
from blemish.schema import Progress, silent

_TIMEOUT_SECONDS = 30
_NUM_ATTEMPTS = 3
_BLOCK_BYTES = 1 << 20
_MAX_MEMBERS = 100_000
_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Archive:
    """One file to download: its address is `PublicDataset.base_url` + `address`.

    `max_bytes` limits both the archive and what is unpacked from it.
    """

    address: str
    hash_kind: Literal["sha256", "md5"]
    hash_value: str
    max_bytes: int

    @property
    def name(self) -> str:
        return PurePosixPath(self.address).name


@dataclass(frozen=True)
class PublicDataset:
    """A public data set: archives by category, the whole under the empty name; where and on what terms it is given."""

    title: str
    page: str
    licence: str
    licence_url: str
    base_url: str
    archives: Mapping[str, Archive]


@dataclass(frozen=True)
class Fetched:
    """What a download gave: the data set's folder, its licence, and how the archive was checked.

    `checked_by` is empty where the folder was there before and nothing was downloaded.
    """

    path: Path
    title: str
    licence: str
    licence_url: str
    checked_by: str


_NON_COMMERCIAL = "CC BY-NC-SA 4.0 (not for commercial use)"
_NON_COMMERCIAL_URL = "https://creativecommons.org/licenses/by-nc-sa/4.0/"

# category: number in the share, MD5
_MVTEC_AD_CATEGORIES = {
    "bottle": ("420937370-1629951468", "79b4d46b8647d969e323afef8d8445ff"),
    "cable": ("420937413-1629951498", "2ba411739e8239e7558ead13f18b0ead"),
    "capsule": ("420937454-1629951595", "380afc46701c99cb7b9a928edbe16eb5"),
    "carpet": ("420937484-1629951672", "5ce0a646d054d9e88195bd74c690de4b"),
    "grid": ("420937487-1629951814", "37239e47f99673bb73393b67ca4cc418"),
    "hazelnut": ("420937545-1629951845", "5c30a9e574a762d845ca79cf2f241b01"),
    "leather": ("420937607-1629951964", "e7971b60323840bfc36247e8d9c3598e"),
    "metal_nut": ("420937637-1629952063", "bfbc32e780827923f4b2c61923e364f7"),
    "pill": ("420938129-1629953099", "834e2d57f62cd4d8d74cd0a5775cc48b"),
    "screw": ("420938130-1629953152", "2e817e865841f4947db4ded51c13bb23"),
    "tile": ("420938133-1629953189", "d78d2c0f6d8bbe9cbe3b72a77bc3e328"),
    "toothbrush": ("420938134-1629953256", "53ba30bb7aeac103e28e1b83ae28ffb9"),
    "transistor": ("420938166-1629953277", "4fe2681f0ce1793cbf71d762f926d564"),
    "wood": ("420938383-1629953354", "b2478b1c65e9a470f360cc6173299d58"),
    "zipper": ("420938385-1629953449", "015bfd289a1782abc77318aa015a728d"),
}

PUBLIC_DATASETS: Mapping[str, PublicDataset] = {
    "mvtec-ad": PublicDataset(
        title="MVTec AD",
        page="https://www.mvtec.com/company/research/datasets/mvtec-ad",
        licence=_NON_COMMERCIAL,
        licence_url=_NON_COMMERCIAL_URL,
        base_url="https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/",
        archives={
            "": Archive(
                "420938113-1629952094/mvtec_anomaly_detection.tar.xz",
                "sha256",
                "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
                12 * 10**9,
            ),
            **{
                category: Archive(f"{share}/{category}.tar.xz", "md5", md5, 2 * 10**9)
                for category, (share, md5) in _MVTEC_AD_CATEGORIES.items()
            },
        },
    ),
    "mvtec-loco": PublicDataset(
        title="MVTec LOCO AD",
        page="https://www.mvtec.com/company/research/datasets/mvtec-loco",
        licence=_NON_COMMERCIAL,
        licence_url=_NON_COMMERCIAL_URL,
        base_url="https://www.mydrive.ch/shares/48237/1b9106ccdfbb09a0c414bd49fe44a14a/download/",
        archives={
            "": Archive(
                "430647091-1646842701/mvtec_loco_anomaly_detection.tar.xz",
                "sha256",
                "9e7c84dba550fd2e59d8e9e231c929c45ba737b6b6a6d3814100f54d63aae687",
                20 * 10**9,
            )
        },
    ),
    "mvtec-ad-2": PublicDataset(
        title="MVTec AD 2",
        page="https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        licence=_NON_COMMERCIAL,
        licence_url=_NON_COMMERCIAL_URL,
        base_url="https://www.mydrive.ch/shares/121573/7f68fe2c4f7c2ceaa08f463aaeb2f414/download/",
        archives={
            "": Archive(
                "466712769-1743422799/mvtec_ad_2.tar.gz",
                "sha256",
                "c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4",
                100 * 10**9,
            )
        },
    ),
}


def fetch(
    name: str,
    folder: Path,
    category: str = "",
    *,
    accept_license: bool = False,
    base_url: str = "",
    progress: Progress = silent,
) -> Fetched:
    """The data set `name` (or one category of it) in a folder below `folder`, downloaded where it is missing.

    An archive that already lies in `folder`, fetched by hand, is used; a broken download goes on where it stopped.
    Nothing is downloaded unless `accept_license` says that the licence is accepted. `base_url` is another place with
    the same archives, such as a mirror in a plant's own network; hashes are checked all the same.
    """
    dataset, archive = _choose(name, category)
    target = folder / (category or name)
    if target.is_dir() and any(target.iterdir()):
        return Fetched(target, dataset.title, dataset.licence, dataset.licence_url, "")
    if not accept_license:
        raise SettingsError(
            f"{dataset.title} is under {dataset.licence}, see {dataset.licence_url}; "
            "give --accept-license where you accept it"
        )
    url = f"{(base_url or dataset.base_url).rstrip('/')}/{archive.address}"
    if not _is_address(url):
        raise SettingsError(f"{base_url}: give an address that begins with https:// or http:// and a server's name")
    path = folder / archive.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        was_there = path.exists()
        if not was_there:
            _download(url, path, archive, _by_hand(dataset, archive, folder), progress)
        _check_hash(path, archive, was_there, progress)
        _unpack(path, target, archive, progress)
        if not was_there:
            path.unlink()
    except OSError as error:
        raise OutputError(
            f"{error.filename or folder}: cannot be written ({error.strerror or error}); "
            "free some space or choose another folder"
        ) from error
    return Fetched(target, dataset.title, dataset.licence, dataset.licence_url, archive.hash_kind)


def _choose(name: str, category: str) -> tuple[PublicDataset, Archive]:
    dataset = PUBLIC_DATASETS.get(name)
    if dataset is None:
        raise SettingsError(f"data set {name!r} is not known; choose one of {', '.join(PUBLIC_DATASETS)}")
    archive = dataset.archives.get(category)
    if archive is None:
        known = [known for known in dataset.archives if known]
        raise SettingsError(
            f"{dataset.title} has no category {category!r} to fetch; "
            + (f"choose one of {', '.join(known)}" if known else "it comes as a whole: leave --category out")
        )
    return dataset, archive


def _by_hand(dataset: PublicDataset, archive: Archive, folder: Path) -> str:
    return (
        f"run the same command again to go on, or download {archive.name} by hand from {dataset.page}, "
        f"put it into {folder} and run the same command again"
    )


def is_same_server(asked: str, sent_on: str) -> bool:
    """Whether an address is of the same host and port as the one asked, and no less secure."""
    try:
        was, new = urllib.parse.urlsplit(asked), urllib.parse.urlsplit(sent_on)
        ports = [parts.port or _PORTS.get(parts.scheme) for parts in (was, new)]
    except ValueError:
        return False
    is_upgrade = (was.scheme, new.scheme, *ports) == ("http", "https", 80, 443)
    return was.hostname == new.hostname and (is_upgrade or (was.scheme == new.scheme and ports[0] == ports[1]))


def _is_address(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        url.encode("ascii")
        (parts.hostname or "").encode("idna")
        return parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


class _ServerError(Exception):
    """An answer that would be the same if the server were asked again; the text follows "the server"."""


class _SameServer(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if is_same_server(req.full_url, newurl):
            return super().redirect_request(req, fp, code, msg, headers, newurl)
        fp.close()
        shown = re.sub("//[^/]*@", "//", newurl)[:100]
        raise _ServerError(f"sends on to another server or to one less secure ({shown!r}), which is not followed")


def _download(url: str, path: Path, archive: Archive, remedy: str, progress: Progress) -> None:
    """Brings the file to `path`; what came so far stays beside it as `.part` when the connection breaks."""
    part = path.with_name(path.name + ".part")
    reason = ""
    for _ in range(_NUM_ATTEMPTS):
        try:
            reason = _download_rest(url, part, archive, progress)
        except _ServerError as error:
            raise DataError(f"{url}: the server {error}; {remedy}") from error
        if not reason:
            os.replace(part, path)
            return
    raise DataError(f"{url}: cannot be downloaded ({reason}); {remedy}")


def _download_rest(url: str, part: Path, archive: Archive, progress: Progress) -> str:
    """Appends what is missing to `part`; returns why it is not complete, or nothing."""
    done = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        answer = urllib.request.build_opener(_SameServer).open(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # nothing is missing, or all is different
            return "" if error.headers.get("Content-Range", "").endswith(f"/{done}") else _start_again(part)
        raise _ServerError(f"answers {error.code} {http.client.responses.get(error.code, '')}".rstrip()) from error
    except (OSError, http.client.HTTPException, ValueError) as error:  # of the connection, or of what came over it
        return str(getattr(error, "reason", "") or error or type(error).__name__)
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
            return _start_again(part)
        done = done if goes_on else 0
        total = done + _length(answer.headers)
        if total > archive.max_bytes:
            raise _ServerError(f"offers {total:,} bytes, far more than expected")
        with part.open("ab" if goes_on else "wb") as file:
            while True:
                try:
                    block = answer.read(_BLOCK_BYTES)
                except (OSError, http.client.HTTPException) as error:  # of the connection, not of the file
                    return str(error) or "the connection broke"
                if not block:
                    break
                file.write(block)
                done += len(block)
                if done > archive.max_bytes:
                    raise _ServerError("sends far more bytes than expected")
                progress(f"downloading {archive.name}", done, max(total, done))
    return "the connection broke" if done < total else ""


def _length(headers: HTTPMessage) -> int:
    """The number of bytes that are to come, 0 where the server does not say."""
    told = headers.get("Content-Length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", told):
        raise _ServerError(f"gives no number as the length of its answer (Content-Length: {told[:30]!r})")
    return int(told)


def _start_again(part: Path) -> str:
    part.unlink(missing_ok=True)
    return "the file on the server has changed"


def _check_hash(path: Path, archive: Archive, was_there: bool, progress: Progress) -> None:
    size = path.stat().st_size
    found = hash_file(path, archive.hash_kind, at=lambda done: progress(f"checking {archive.name}", done, size))
    if found == archive.hash_value:
        return
    if not was_there:
        path.unlink()
    remedy = "remove it and" if was_there else "it has been removed:"
    raise DataError(
        f"{path}: its {archive.hash_kind} is {found}, expected {archive.hash_value}; "
        f"the file is damaged or another one; {remedy} run the same command again"
    )


def _unpack(path: Path, target: Path, archive: Archive, progress: Progress) -> None:
    """Unpacks beside the target and renames at the end, so that the target is whole or missing."""
    beside = Path(tempfile.mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent))
    num_bytes, names = 0, set()
    try:
        try:
            with path.open("rb") as packed, tarfile.open(fileobj=packed, mode="r:*") as tar:
                for number, member in enumerate(tar, start=1):
                    _check_member(member, path)
                    num_bytes += member.size
                    if num_bytes > archive.max_bytes or number > _MAX_MEMBERS:
                        raise DataError(f"{path}: unpacks to far more than expected; it is not used")
                    if member.isfile() and member.name in names:
                        raise tarfile.TarError(f"{member.name!r} stands in it twice")
                    names.add(member.name)
                    tar.extract(member, beside, filter="data")
                    progress(f"unpacking {path.name}", packed.tell(), path.stat().st_size)
        except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, ValueError, NotADirectoryError) as error:
            raise DataError(f"{path}: the archive cannot be unpacked ({error}); remove it and fetch again") from error
        inner = beside / target.name  # the archive of a category holds one folder of its name
        with contextlib.suppress(OSError):  # an empty folder may stand in the way
            target.rmdir()
        os.replace(inner if inner.is_dir() else beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check_member(member: tarfile.TarInfo, path: Path) -> None:
    """Plain files and folders below the archive's own folder only, under names that every system takes."""
    parts = PurePosixPath(member.name).parts
    is_inside = parts and not member.name.startswith("/") and ".." not in parts
    if not is_inside or any(letter in member.name for letter in '\\:*?"<>|\0'):
        raise DataError(f"{path}: the archive names a place outside its folder ({member.name!r}); it is not used")
    if not member.isfile() and not member.isdir():
        raise DataError(f"{path}: the archive holds a link or device ({member.name!r}); it is not used")
