"""Config files in and out, detectors in a file of one's own, raw maps out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blemish.model import load
from blemish.registry import load_detector
from blemish.testing.tiny import TinyProduct, write_png

TINY = ("--detector", "template", "--size", "64")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


class TestConfigIn:
    def test_its_options_are_those_of_the_command(self, run: Any, product_folder: Path, tmp_path: Path) -> None:
        config = write(
            tmp_path / "run.toml",
            '[train]\ndetector = "Template"\nsize = 64\nfalse-reject = 0.2\nsensitivity = false\n'
            'rule = ["ignore spots smaller than 3 px2"]\n[train.set]\ncell = 8\n[inspect]\nlot = true\n',
        )
        path = tmp_path / "part.blemish"
        assert run("train", product_folder, "-o", path, "--config", config).status == 0
        found = run("info", path, "--json").json
        assert (found["detector"], found["input_hw"], found["settings"]["cell"]) == ("template", [64, 64], 8)
        assert found["rules"] == ["ignore spots smaller than 3 px2"]
        assert "sensitivity" not in found
        lot = run("inspect", path, product_folder / "test", f"--config={config}")
        assert "false discovery rate" in lot.stderr

    def test_what_is_typed_goes_before_it(self, run: Any, product_folder: Path, tmp_path: Path) -> None:
        config = write(tmp_path / "run.toml", '[train]\ndetector = "padim"\nsize = 96\n[train.set]\ncell = 8\n')
        path = tmp_path / "part.blemish"
        run("train", product_folder, "-o", path, "--config", config, *TINY, "--set", "cell=4")
        found = run("info", path, "--json").json
        assert (found["detector"], found["input_hw"], found["settings"]["cell"]) == ("template", [64, 64], 4)

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("[train]\ndetectr = 'padim'\n", "train has no option 'detectr'; did you mean 'detector'?"),
            ("[train\n", "docs/python.md shows the form"),
            ("train = 5\n", "write [train] and its options below"),
            ("[train]\nsensitivity = 'no'\n", "train.sensitivity: give true or false"),
            ("[train]\nsize = {a = 1}\n", "train.size: a dict cannot be the value"),
            ("[train]\ndevice = 'cdua'\n", "did you mean 'cuda'?"),
            ("\xff", "docs/python.md"),
        ],
    )
    def test_a_wrong_one_is_one_line(
        self, run: Any, product_folder: Path, tmp_path: Path, text: str, said: str
    ) -> None:
        config = tmp_path / "run.toml"
        config.write_bytes(text.encode("latin-1"))
        outcome = run("train", product_folder, "-o", tmp_path / "x", *TINY, "--config", config)
        assert outcome.status == 2
        assert said in outcome.stderr
        assert outcome.stderr.count("\n") == 1

    def test_one_that_is_not_there_is_named(self, run: Any, product_folder: Path, tmp_path: Path) -> None:
        outcome = run("train", product_folder, "-o", tmp_path / "x", "--config", tmp_path / "no.toml")
        assert outcome.status == 2
        assert "no.toml: no such file" in outcome.stderr


class TestConfigOut:
    def test_it_makes_the_same_graph_and_decisions_again(self, run: Any, product_folder: Path, tmp_path: Path) -> None:
        first, second = tmp_path / "first.blemish", tmp_path / "second.blemish"
        options = ("--set", "cell=8", "--seed", "3", "--false-reject", "0.2", "--review-rate", "0.4")
        more = ("--rule", "reject scratches longer than 2 mm", "--mm-per-px", "0.05", "--confidence", "0.9")
        assert run("train", product_folder, "-o", first, *TINY, *options, *more).status == 0
        config = write(tmp_path / "run.toml", run("info", first, "--config").stdout)
        assert run("train", product_folder, "-o", second, "--config", config).status == 0
        assert load(second).bundle.bundle_id == load(first).bundle.bundle_id

    def test_a_backbone_and_lists_survive(
        self, run: Any, bundle_path: Path, product: TinyProduct, tmp_path: Path, backbone_description: str
    ) -> None:
        for number, image in enumerate(product.good):
            write_png(tmp_path / "good" / f"{number}.png", image)
        config = write(tmp_path / "run.toml", run("info", bundle_path, "--config").stdout)
        again = tmp_path / "again.blemish"
        done = run(
            "train", tmp_path / "good", "-o", again, "--config", config, "--backbone", backbone_description, "--json"
        )
        assert done.status == 0, done.stderr
        assert load(again).bundle.graph_sha256 == load(bundle_path).bundle.graph_sha256

    def test_what_it_cannot_say_is_a_comment(self, run: Any, bundle_path: Path, tmp_path: Path) -> None:
        path = tmp_path / "costs.blemish"
        run("calibrate", bundle_path, "-o", path, "--cost-escape", "50")
        assert run("info", path, "--config").stdout.startswith("# Costs choose its threshold")
        assert run("info", path, "--config", "--json").json["train"]["detector"] == "patchcore"


DETECTOR = """
import dataclasses
from blemish.detectors import template
from blemish.detectors.base import DetectorInfo

INFO = dataclasses.replace(template.INFO, name="mine", summary="a detector of my own")
fit = template.fit
"""


class TestADetectorInAFile:
    def test_it_is_trained_and_inspects_without_the_file(self, run: Any, product_folder: Path, tmp_path: Path) -> None:
        file = write(tmp_path / "my_detector.py", DETECTOR)
        path = tmp_path / "part.blemish"
        made = run("train", product_folder, "-o", path, "--detector", file, "--size", "64", "--json").json
        assert made["detector"] == "my_detector"
        file.unlink()
        assert run("inspect", path, product_folder / "test").status == 0

    def test_a_study_compares_it(self, run: Any, product_folder: Path, tmp_path: Path) -> None:
        file = write(tmp_path / "my_detector.py", DETECTOR)
        names = f"template,{file}"
        study = ("compare", product_folder, "--detectors", names, "--size", "64", "-o", tmp_path / "study", "--json")
        assert [row["detector"] for row in run(*study).json["rows"]] == ["template", "my_detector"]
        assert run(*study).json["num_new"] == 0
        write(file, DETECTOR + "# another version\n")
        assert run(*study).json["num_new"] == 1

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("def fit(:\n", "my_detector.py"),
            ("import no_such_module_at_all\n", "no_such_module_at_all"),
            ("fit = 1\n", "the file defines no INFO"),
            ("", "no INFO and no fit"),
        ],
    )
    def test_a_wrong_one_is_one_line(
        self, run: Any, product_folder: Path, tmp_path: Path, text: str, said: str
    ) -> None:
        outcome = run(
            "train", product_folder, "-o", tmp_path / "x", "--detector", write(tmp_path / "my_detector.py", text)
        )
        assert outcome.status == 2
        assert said in outcome.stderr
        assert outcome.stderr.count("\n") == 1

    def test_one_that_is_not_there_is_guessed(self, tmp_path: Path) -> None:
        write(tmp_path / "my_detector.py", DETECTOR)
        with pytest.raises(ValueError, match=r"did you mean .*my_detector\.py\?"):
            load_detector(str(tmp_path / "my_detectr.py"))


class TestRawMaps:
    def test_they_are_those_of_the_verdicts_and_evaluate_takes_them(
        self, run: Any, bundle_path: Path, product_folder: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        assert run("inspect", bundle_path, product_folder / "test", "-o", out, "--save-maps").status == 0
        found = np.load(out / "maps" / "test" / "spot" / "000.npy")
        assert found.dtype == np.float32
        verdict = load(bundle_path).inspect(product_folder / "test" / "spot" / "000.png")
        np.testing.assert_array_equal(found, verdict.anomaly_map)
        judged = run("evaluate", "--maps", out / "maps", product_folder, "--json").json
        whole = run("evaluate", bundle_path, product_folder, "--json").json
        assert judged["pixel_auroc"] == whole["pixel_auroc"]
        assert len(list((out / "maps").rglob("*.npy"))) == 12

    def test_without_a_folder_they_have_no_place(self, run: Any, bundle_path: Path, product_folder: Path) -> None:
        outcome = run("inspect", bundle_path, product_folder / "test", "--save-maps")
        assert outcome.status == 2
        assert "--save-maps needs an output folder" in outcome.stderr
        assert json.loads(run("info", bundle_path, "--json").stdout)
