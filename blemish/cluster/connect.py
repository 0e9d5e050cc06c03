"""A connection to Ray whose nodes were looked at first: what is wrong with one is said in one line, before any work."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import re
import socket
import sys
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from blemish.errors import EngineError, OutputError
from blemish.files import make_folder

ANY = "auto"
"""The address that stands for: that of RAY_ADDRESS, else a Ray that runs on this machine, else one for this run."""
PACKAGES = ("blemish", "numpy", "onnxruntime", "cv2", "pyarrow")
"""What every node needs in the same version: results must not depend on the node that made them."""
CONNECT_SECONDS = 5.0
PROBE_SECONDS = 180.0
RAY_SETTINGS = MappingProxyType(
    {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_task_oom_retries": "3"}
)
"""Read by Ray when it is imported: nobody's usage is reported, its inner messages stay in its log files, and a task
that memory runs out for is given up some time."""
STORE_BYTES = 512 * 2**20
"""Shared memory of a Ray begun for one run; paths and counts pass through it, no images."""


@dataclass(frozen=True)
class Node:
    """What a node of the cluster offers; `memory_mb` is what Ray hands out to tasks."""

    name: str
    node_id: str
    num_cpus: float
    num_gpus: float
    memory_mb: float


@contextmanager
def connected(
    address: str = ANY, *, shared: Path | None = None, seen: Sequence[Path] = (), packages: Sequence[str] = ()
) -> Iterator[tuple[Node, ...]]:
    """The nodes that work, inside a connection to the Ray at `address` (host:port); where one was open, it stays.

    Raises EngineError where Ray is not installed or not there, where a node lacks one of `PACKAGES` and `packages` or
    has another version of it, and where it does not see one of the paths `seen`. Raises OutputError where the folder
    `shared`, made if missing, cannot be written to or is not the same folder on every node.
    """
    need_packages()
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        # What Ray warns of is its own way of working, for its own developers.
        warnings.filterwarnings("ignore", module=r"ray(\.|$)")
        import ray

        is_ours = not ray.is_initialized()
        if is_ours:
            with _stderr_closed():
                _connect(address)
        try:
            nodes = _working_nodes()
            _check_nodes(nodes, (*PACKAGES, *packages), shared, seen)
            yield nodes
        finally:
            if is_ours:
                ray.shutdown()


def need_packages() -> None:
    """Raises EngineError where the extra is not installed here."""
    for name, package in (("ray", "Ray"), ("pyarrow", "pyarrow")):
        if importlib.util.find_spec(name) is None:
            raise EngineError(f'{package} is not installed: pip install "blemish[cluster]" here and on every node')


def _connect(address: str) -> None:
    """Each way to Ray in turn; Ray's own messages stay out of the way of ours."""
    import ray

    place = os.environ.get("RAY_ADDRESS", ANY) if address == ANY else address
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        if place == ANY:
            try:
                ray.init("auto", **options)
            except ConnectionError:
                ray.init("local", include_dashboard=False, object_store_memory=STORE_BYTES, **options)
            return
        _check_reachable(place)
        ray.init(place, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        ray.shutdown()
        said = " ".join(str(error).split())[:300]  # of versions that differ, Ray names both in lines of their own
        raise EngineError(f"no connection to Ray at {place}: {said}") from error


@contextmanager
def _stderr_closed() -> Iterator[None]:
    """Inside, what is written past Python to standard error is lost: Ray says there that it read its log level."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_reachable(address: str) -> None:
    """Raises EngineError at once where nobody answers; Ray itself would try for minutes."""
    match = re.fullmatch(r"([^:/\s]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", address)
    if match is None:
        raise EngineError(
            f"--ray {address}: not an address of Ray; give host:port as `ray start --head` says it (such as "
            "10.0.0.5:6379), and run this command on a node of the cluster"
        )
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EngineError(
            f"no Ray answers at {address} ({reason.lower()}); check the address that `ray start --head` said"
        ) from error


def _working_nodes() -> tuple[Node, ...]:
    """The nodes that take tasks; a head that only manages has no CPUs to give."""
    import ray

    found = []
    for row in ray.nodes():  # type: ignore[no-untyped-call]
        resources = row["Resources"]
        if row["Alive"] and resources.get("CPU", 0) > 0:
            memory_mb = resources.get("memory", 0) / 1e6
            name = f"{row['NodeManagerHostname']} ({row['NodeManagerAddress']})"
            found.append(Node(name, row["NodeID"], resources["CPU"], resources.get("GPU", 0), memory_mb))
    if not found:
        raise EngineError("this Ray cluster has no node with a CPU to work on; add one with `ray start --address=...`")
    return tuple(sorted(found, key=lambda node: (node.name, node.node_id)))


def _check_nodes(nodes: Sequence[Node], packages: Sequence[str], shared: Path | None, seen: Sequence[Path]) -> None:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    mark = None
    if shared is not None:
        mark = make_folder(shared) / f".seen-{uuid.uuid4().hex}"
        try:
            mark.touch()
        except OSError as error:
            raise OutputError(f"{shared}: cannot be written to ({(error.strerror or str(error)).lower()})") from error
    probe = ray.remote(num_cpus=0, max_retries=0)(make_probe())
    paths = [str(path) for path in (*seen, *([mark] if mark else []))]
    try:
        asked = [
            probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote(
                list(packages), paths
            )
            for node in nodes
        ]
        here = make_probe()(packages, paths)["versions"]
        for node, reference in zip(nodes, asked, strict=True):
            try:
                facts = ray.get(reference, timeout=PROBE_SECONDS)
            except Exception as error:  # whatever ends it, the node is of no use
                raise EngineError(f"node {node.name} does not answer: {first_line(error)}") from error
            _check_versions(node, facts["versions"], here)
            if mark is not None and str(mark) in facts["unseen"]:
                raise OutputError(
                    f"{shared}: node {node.name} does not see or may not read this folder; choose one on storage that "
                    "all nodes share, at the same path"
                )
            if facts["unseen"]:
                raise EngineError(
                    f"node {node.name} does not see {facts['unseen'][0]}; put it on storage that all nodes share, at "
                    "the same path"
                )
    finally:
        if mark is not None:
            mark.unlink(missing_ok=True)


def make_probe() -> Any:
    """A function that gives the facts of a node. Not a function of this module: it has to run where that is missing."""

    def probe(packages: Sequence[str], paths: Sequence[str]) -> dict[str, Any]:
        versions = {"Python": ".".join(platform.python_version_tuple()[:2])}
        for name in packages:
            try:
                versions[name] = str(getattr(importlib.import_module(name), "__version__", "of unknown version"))
            except ImportError:
                versions[name] = ""
        return {"versions": versions, "unseen": [path for path in paths if not os.path.exists(path)]}

    return probe


def _check_versions(node: Node, there: Mapping[str, str], here: Mapping[str, str]) -> None:
    for name, version in here.items():
        if not version:
            raise EngineError(f'{name} is missing here: pip install "blemish[cluster]"')
        if not there[name]:
            raise EngineError(f'node {node.name} lacks {name}: pip install "blemish[cluster]=={here["blemish"]}" there')
        if there[name] != version:
            raise EngineError(
                f"node {node.name} has {name} {there[name]}, this machine {version}; install the same version on all, "
                "or results would depend on the node"
            )


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its name: Ray's messages are pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def cause_of(error: BaseException) -> BaseException:
    """The error that our code raised on a worker, out of what Ray wrapped around it; Ray's own where there is none."""
    from ray.exceptions import RayTaskError

    while isinstance(error, RayTaskError):
        error = error.cause
    return error.__cause__ if type(error).__name__ == "UserCodeException" and error.__cause__ else error
