"""Commands on a Ray cluster, as a person sees them: what they give, and one clear line where the cluster is unfit."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from blemish import __version__
from blemish.testing.tiny import TinyProduct, write_png

STORE_BYTES = 80 * 2**20


def test_the_command_works_on_the_cluster(run: Any, two_nodes: str, product_folder: Path, tmp_path: Path) -> None:
    command = ("compare", product_folder, "--detectors", "template", "--size", "64", "-o", tmp_path / "study")
    needs = ("--task-cpus", "1", "--task-memory-mb", "100", "--json")
    first = run(*command, "--ray", two_nodes, *needs)
    assert (first.status, first.json["num_new"], first.json["failures"]) == (0, 1, [])
    again = run(*command, "--json")
    assert again.json["num_new"] == 0, "without --ray the same results are known"
    assert (tmp_path / "study" / "index.html").exists()
    assert not list((tmp_path / "study").glob(".seen-*"))


def test_what_fails_on_the_cluster_is_told_at_the_end(
    run: Any, two_nodes: str, product_folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(product_folder, tmp_path / "data" / "whole")
    broken = shutil.copytree(product_folder, tmp_path / "data" / "broken")
    for path in sorted((broken / "train" / "good").iterdir())[1:]:
        path.unlink()
    command = ("compare", tmp_path / "data", "--detectors", "template", "--size", "64", "-o", tmp_path / "study")
    outcome = run(*command, "--ray", two_nodes, "--task-cpus", "1", "--json")
    assert outcome.status == 2
    assert [row["category"] for row in outcome.json["rows"]] == ["whole"]
    [failure] = outcome.json["failures"]
    assert failure["data"].endswith("broken")
    assert failure["error"].startswith("DataError: ")


def test_a_study_whose_command_was_killed_goes_on(
    run: Any, two_nodes: str, product_folder: Path, tmp_path: Path
) -> None:
    study = ["compare", str(product_folder), "--detectors", "template", "--size", "64", "--seeds", "6"]
    there = [*study, "-o", str(tmp_path / "there"), "--ray", two_nodes, "--task-cpus", "1"]
    results = tmp_path / "there" / "results"
    with subprocess.Popen(
        [sys.executable, "-m", "blemish.cli.main", *there], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while not list(results.glob("*.json")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    finished = {path: path.read_bytes() for path in results.glob("*.json")}
    there_rows = run(*there, "--json").json["rows"]
    here_rows = run(*study, "-o", tmp_path / "here", "--json").json["rows"]
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert len(there_rows) == 6
    for one, other in zip(there_rows, here_rows, strict=True):
        assert one["key"] == other["key"]
        assert one["image_auroc"] == other["image_auroc"]
        assert one["aupro_30"] == other["aupro_30"]


def test_an_archive_is_judged_on_the_cluster(run: Any, two_nodes: str, archive: Any, tmp_path: Path) -> None:
    (tmp_path / "in" / "damaged.png").write_bytes(b"no image")
    outcome = run(*archive, "--ray", two_nodes, "--part", "hour", "--json")
    assert outcome.status == 2, "an image could not be read"
    assert outcome.json["num_new"] == 3
    assert outcome.json["unreadable"] == 1
    parts = [path.name for path in (tmp_path / "verdicts").glob("part=*")]
    assert parts
    assert all(re.fullmatch(r"part=\d{4}-\d\d-\d\dT\d\d", part) for part in parts)
    again = run(*archive, "--ray", two_nodes, "--part", "hour")
    assert "0 images" in again.stderr
    assert "3 were finished before" in again.stderr
    outcome = run(*archive, "--ray", two_nodes)
    assert outcome.status == 2
    assert "holds verdicts with part hour, this run has folder; choose another folder" in outcome.stderr


@pytest.fixture
def archive(bundle_path: Path, product: TinyProduct, tmp_path: Path) -> tuple[object, ...]:
    """The command that judges two images; a test adds the rest."""
    for number in range(2):
        write_png(tmp_path / "in" / f"{number}.png", product.good[number])
    return ("inspect", bundle_path, tmp_path / "in", "-o", tmp_path / "verdicts")


class TestWhatIsWrongIsSaidInOneLine:
    @pytest.fixture
    def study(self, product_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[object, ...]:
        # Ray's workers find modules in this process's folder first; the package's own would hide those of a test.
        monkeypatch.chdir(tmp_path)
        return ("compare", product_folder, "--detectors", "template", "--size", "64", "-o", tmp_path / "study")

    @staticmethod
    def line_of(outcome: Any) -> str:
        assert (outcome.status, outcome.stdout) == (2, "")
        [line] = outcome.stderr.strip().splitlines()
        assert isinstance(line, str)
        return line

    def test_an_address_where_nobody_answers(self, run: Any, study: Any) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        line = self.line_of(run(*study, "--ray", address))
        assert f"no Ray answers at {address}" in line

    @pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:six"])
    def test_what_is_no_address(self, run: Any, study: Any, address: str) -> None:
        assert "give host:port" in self.line_of(run(*study, "--ray", address))

    def test_a_machine_without_the_extra(self, study: Any) -> None:
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RAY, *map(str, study), "--ray"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert done.stderr.strip() == (
            'blemish: Ray is not installed: pip install "blemish[cluster]" here and on every node'
        )

    def test_more_than_any_node_has(self, run: Any, two_nodes: str, study: Any) -> None:
        line = self.line_of(run(*study, "--ray", two_nodes, "--task-cpus", "64"))
        assert "no node has the 64 CPUs" in line

    def test_a_folder_that_cannot_be_written_to(self, run: Any, two_nodes: str, study: Any, tmp_path: Path) -> None:
        (tmp_path / "study").write_text("a file in the way", encoding="utf-8")
        assert str(tmp_path / "study") in self.line_of(run(*study, "--ray", two_nodes, "--task-cpus", "1"))

    def test_verdicts_that_cannot_be_written(self, run: Any, two_nodes: str, archive: Any, tmp_path: Path) -> None:
        (tmp_path / "verdicts").write_text("a file in the way", encoding="utf-8")
        assert str(tmp_path / "verdicts") in self.line_of(run(*archive, "--ray", two_nodes))

    def test_an_archive_that_is_not_there(self, run: Any, two_nodes: str, bundle_path: Path, tmp_path: Path) -> None:
        line = self.line_of(run("inspect", bundle_path, tmp_path / "no", "-o", tmp_path / "out", "--ray", two_nodes))
        assert str(tmp_path / "no") in line

    @pytest.mark.parametrize("options", [["--lot"], ["--threads", "2"], ["--drift-state", "drift.json"]])
    def test_what_workers_cannot_do(self, run: Any, archive: Any, options: list[str]) -> None:
        assert "leave out" in self.line_of(run(*archive, "--ray", *options))

    def test_verdicts_without_a_folder(self, run: Any, archive: Any) -> None:
        assert "give a folder for the table" in self.line_of(run(*archive[:3], "--ray"))

    def test_a_store_without_a_cluster(self, run: Any, bundle_path: Path) -> None:
        assert "read with --ray" in self.line_of(run("inspect", bundle_path, "s3://bucket/parts"))

    def test_a_store_of_an_unknown_kind(self, run: Any, bundle_path: Path, tmp_path: Path) -> None:
        line = self.line_of(run("inspect", bundle_path, "tape://7/parts", "-o", tmp_path / "out", "--ray"))
        assert "tape://7/parts: not a place that can be opened" in line

    def test_a_node_with_another_version(self, run: Any, cluster: Any, study: Any, tmp_path: Path) -> None:
        (tmp_path / "other" / "blemish").mkdir(parents=True)
        (tmp_path / "other" / "blemish" / "__init__.py").write_text("__version__ = '0.0.9'", encoding="utf-8")
        with odd_node(cluster, tmp_path / "other"):
            line = self.line_of(run(*study, "--ray", cluster.address, "--task-cpus", "1"))
        assert f"has blemish 0.0.9, this machine {__version__}; install the same version on all" in line

    def test_a_node_without_the_extra(self, run: Any, cluster: Any, study: Any, tmp_path: Path) -> None:
        (tmp_path / "other" / "pyarrow").mkdir(parents=True)
        (tmp_path / "other" / "pyarrow" / "__init__.py").write_text("raise ModuleNotFoundError", encoding="utf-8")
        with odd_node(cluster, tmp_path / "other"):
            line = self.line_of(run(*study, "--ray", cluster.address, "--task-cpus", "1"))
        assert f'lacks pyarrow: pip install "blemish[cluster]=={__version__}" there' in line


@contextmanager
def odd_node(cluster: Any, modules: Path) -> Iterator[None]:
    """Inside, the cluster has a third node that finds these modules before all others."""
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, env_vars={"PYTHONPATH": str(modules)})
    try:
        yield
    finally:
        cluster.remove_node(node)


WITHOUT_RAY = """
import importlib.util, sys
real = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "ray" else real(name, package)
from blemish.cli.main import main
main()
"""
