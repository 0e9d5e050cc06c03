"""How the processes of a station on one machine talk: messages of JSON and bytes over local sockets.

A message is the length of its JSON as four bytes (big-endian), the JSON, and the bytes; browsers get the same form.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from blemish.errors import OutputError
from blemish.files import make_folder, write_new_file

MAX_MESSAGE_BYTES = 256 << 20
_LENGTH = struct.Struct(">I")
_LONGEST_PATH = 100
"""Names of local sockets may have 107 bytes on Linux, fewer elsewhere."""

Message = tuple[dict[str, Any], bytes]


class UnreachableError(OutputError):
    """The other process does not answer."""


def pack(fields: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """A message as it is sent.

    >>> unpack(pack({"do": "state"}, b"x"))
    ({'do': 'state'}, b'x')
    """
    head = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return _LENGTH.pack(len(head)) + head + payload


def unpack(message: bytes) -> Message:
    """The JSON and the bytes of a message. Raises ValueError where it is none."""
    if len(message) < _LENGTH.size:
        raise ValueError("the message is too short")
    [length] = _LENGTH.unpack_from(message)
    fields = json.loads(message[_LENGTH.size : _LENGTH.size + length])
    if not isinstance(fields, dict):
        raise ValueError("the message has no JSON object")
    return fields, message[_LENGTH.size + length :]


def address_of(data: Path, name: str) -> str:
    """The local address of a part of the station whose data lie in `data`."""
    if sys.platform == "win32":
        return rf"\\.\pipe\blemish-{_short_hash(data)}-{name}"
    path = data.resolve() / "run" / f"{name}.socket"
    if len(os.fsencode(path)) <= _LONGEST_PATH:
        return str(path)
    return str(Path(tempfile.gettempdir()) / f"blemish-{os.getuid()}-{_short_hash(data)}" / f"{name}.socket")


def _short_hash(data: Path) -> str:
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:16]


def _key(data: Path) -> bytes:
    """What both sides must know: a file that only this user may read."""
    path = data / "run" / "key"
    if not path.exists():
        write_new_file(path, secrets.token_bytes(32))
        with contextlib.suppress(OSError):
            path.chmod(0o600)
    return path.read_bytes()


def listen(data: Path, name: str) -> Listener:
    """Listens at a local address. Raises OutputError where that cannot be done."""
    address = address_of(data, name)
    if sys.platform != "win32":
        folder = make_folder(Path(address).parent)
        try:
            folder.chmod(0o700)
            Path(address).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be used for sockets ({error.strerror}); free the place") from error
    return Listener(address, authkey=_key(data), backlog=16)


def connections(listener: Listener) -> Iterator[Connection[Any, Any]]:
    """Those who connect, without end; those who do not know the key are turned away."""
    while True:
        try:
            yield listener.accept()
        except OSError:
            if listener._listener is None:  # type: ignore[attr-defined]
                return
        except Exception:  # a stranger
            continue


def connect(data: Path, name: str) -> Connection[Any, Any]:
    """A connection to a part of the station. Raises UnreachableError."""
    try:
        return Client(address_of(data, name), authkey=_key(data))
    except Exception as error:
        raise UnreachableError(f"{name}: does not answer ({error}); is `blemish station` running?") from error


def send(connection: Connection[Any, Any], fields: Mapping[str, Any], payload: bytes = b"") -> None:
    """Sends a message. Raises UnreachableError where the other side is gone."""
    try:
        connection.send_bytes(pack(fields, payload))
    except OSError as error:
        raise UnreachableError(f"the connection is gone ({error}); try again") from error


def receive(connection: Connection[Any, Any], seconds: float | None = None) -> Message:
    """The next message. Raises UnreachableError where the other side is gone, or says nothing for so long."""
    try:
        if not connection.poll(seconds):
            raise UnreachableError(f"no answer within {seconds:g} s; try again")
        return unpack(connection.recv_bytes(MAX_MESSAGE_BYTES))
    except (OSError, EOFError, ValueError) as error:
        raise UnreachableError(f"the connection is gone ({error or 'it was closed'}); try again") from error


def ask(data: Path, name: str, fields: Mapping[str, Any], payload: bytes = b"", *, seconds: float = 10.0) -> Message:
    """What another part of the station answers to one message. Raises UnreachableError."""
    with connect(data, name) as connection:
        send(connection, fields, payload)
        return receive(connection, seconds)
