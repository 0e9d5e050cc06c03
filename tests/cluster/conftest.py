"""A real Ray cluster of two nodes on this machine, begun once; tests of it run one after the other on one worker."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Read by Ray when it is first imported, and by all that it starts.
os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_enable_metrics_collection="0",
    RAY_memory_monitor_refresh_ms="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)

STORE_BYTES = 80 * 2**20


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "cluster" in item.path.parts:
            item.add_marker(pytest.mark.xdist_group("ray"))


DEADLY = "deadly"
"""A worker of the cluster dies when it decodes an image with this in its name, as by a fault in a decoder."""
DEADLY_CODE = f"""
import builtins, os, signal, sys
real_import = builtins.__import__

def import_deadly(*arguments, **options):
    found = real_import(*arguments, **options)
    module = sys.modules.get("blemish.images.decode")
    decode = getattr(module, "decode_image", None)
    if decode is not None and not hasattr(module, "is_deadly"):
        def decode_image(data, name, *reading):
            if {DEADLY!r} in name:
                os.kill(os.getpid(), signal.SIGKILL)
            return decode(data, name, *reading)
        module.decode_image, module.is_deadly = decode_image, True
    return found

builtins.__import__ = import_deadly
"""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of two nodes with one CPU each; a test that adds one takes it away again."""
    from ray.cluster_utils import Cluster

    modules = tmp_path_factory.mktemp("modules")
    (modules / "sitecustomize.py").write_text(DEADLY_CODE, encoding="utf-8")
    paths = os.pathsep.join([str(modules), *filter(None, [os.environ.get("PYTHONPATH")])])
    node = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "env_vars": {"PYTHONPATH": paths}}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture(scope="session")
def two_nodes(cluster: Any) -> str:
    """The address of that cluster."""
    assert isinstance(cluster.address, str)
    return cluster.address


@pytest.fixture
def processes() -> Callable[[str], list[int]]:
    """Finds the processes with a word in their command line, among those that the tests began (on Linux)."""

    def find(word: str) -> list[int]:
        found = []
        for place in Path("/proc").iterdir():
            if place.name.isdigit():
                with contextlib.suppress(OSError):  # it ended meanwhile
                    if word.encode() in (place / "cmdline").read_bytes() and os.getpid() in _ancestors(place.name):
                        found.append(int(place.name))
        return found

    return find


def _ancestors(number: str) -> Iterator[int]:
    while number != "0":
        number = Path("/proc", number, "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1]
        yield int(number)


@pytest.fixture(scope="session")
def store() -> Iterator[str]:
    """What follows `s3://bucket` for an object store on this machine, with its key: `?endpoint_override=...`."""
    command = shutil.which("moto_server", path=f"{Path(sys.prefix) / 's3' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    if command is None:
        pytest.skip("no moto_server here: `make test` installs one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with subprocess.Popen(
        [command, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for(port)
            yield f"?endpoint_override=127.0.0.1:{port}&scheme=http&allow_bucket_creation=true&region=us-east-1"
        finally:
            server.terminate()


def _wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing answers at port {port}")
