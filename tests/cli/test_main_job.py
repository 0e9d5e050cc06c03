"""The main job on the command line: train, evaluate, inspect, calibrate, compare, and what each prints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.testing.tiny import TinyProduct, make_tiny_product, write_png

TINY = ("--detector", "template", "--size", "64")


@pytest.fixture(scope="module")
def bundle_file(product_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from blemish.model import train

    return train(product_folder, detector="template", size=64).save(tmp_path_factory.mktemp("cli") / "part.blemish")


def test_train_writes_one_file_and_says_what_it_promises(run, product_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "part.blemish"
    outcome = run("train", product_folder, "-o", path, *TINY)
    assert outcome.status == 0
    assert [entry.name for entry in tmp_path.iterdir()] == ["part.blemish"]
    assert outcome.stdout == ""
    assert "of good parts are rejected; with 95 % confidence at most" in outcome.stderr
    told = run("train", product_folder, "-o", path, *TINY, "--verbose")
    assert "exchangeable" in told.stderr
    assert "exchangeable" not in outcome.stderr


def test_train_ends_with_what_it_learned_what_it_finds_and_what_to_type_next(
    run, product_folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "my part.blemish"
    learned, finds, following = run("train", product_folder, "-o", path, *TINY).stderr.splitlines()[-3:]
    assert f"{path}: learned 16 good images of tiny product ä (template, 64 x 64" in learned
    assert finds.startswith("Finds ")
    assert "of good parts are rejected" in finds
    assert following == f"next: blemish evaluate '{path}' '{product_folder}' -o report"
    *_, following = run("train", product_folder / "train" / "good", "-o", path, *TINY).stderr.splitlines()
    assert following.startswith(f"next: blemish inspect '{path}' NEW_IMAGES -o out")


def test_train_json(run, product_folder: Path, tmp_path: Path) -> None:
    found = run("train", product_folder, "-o", tmp_path / "part.blemish", *TINY, "--json").json
    assert found["detector"] == "template"
    assert found["input_hw"] == [64, 64]
    assert found["num_good"] == 16
    assert found["bundle_bytes"] == (tmp_path / "part.blemish").stat().st_size


def test_the_same_training_gives_the_same_graph(run, product_folder: Path, tmp_path: Path) -> None:
    hashes = set()
    for name in ("a", "b"):
        run("train", product_folder, "-o", tmp_path / name, *TINY)
        hashes.add(run("info", tmp_path / name, "--json").json["graph_sha256"])
    assert len(hashes) == 1


def test_settings_are_given_as_text(run, product_folder: Path, tmp_path: Path) -> None:
    run("train", product_folder, "-o", tmp_path / "a", *TINY, "--set", "cell=8", "--set", "noise=2.5")
    settings = run("info", tmp_path / "a", "--json").json["settings"]
    assert (settings["cell"], settings["noise"]) == (8, 2.5)


def test_evaluate_prints_headlines_and_writes_a_page(
    run, bundle_file: Path, product_folder: Path, tmp_path: Path
) -> None:
    outcome = run("evaluate", bundle_file, product_folder, "-o", tmp_path / "report")
    assert outcome.status == 0
    assert "image_auroc" in outcome.stdout
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert json.loads((tmp_path / "report" / "evaluation.json").read_bytes())["num_good"] == 6


def test_evaluate_json_has_flat_names(run, bundle_file: Path, product_folder: Path) -> None:
    found = run("evaluate", bundle_file, product_folder, "--json").json
    names = "image_auroc image_ap image_f1_max pixel_auroc pixel_ap pixel_f1_max aupro_30 aupro_05 accuracy "
    names += (
        "balanced_accuracy false_reject_rate escape_rate confusion_matrix per_defect intervals num_good num_defective"
    )
    assert set(names.split()) <= set(found)


def test_evaluate_at_another_map_size(run, bundle_file: Path, product_folder: Path) -> None:
    full = run("evaluate", bundle_file, product_folder, "--json").json
    quick = run("evaluate", bundle_file, product_folder, "--map-size", "32x32", "--json").json
    assert full["image_auroc"] == quick["image_auroc"]
    assert full["pixel_auroc"] != quick["pixel_auroc"]


def test_inspect_gives_a_line_an_image(run, bundle_file: Path, product_folder: Path) -> None:
    outcome = run("inspect", bundle_file, product_folder / "test", "--json")
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert outcome.status == 0
    assert len(rows) == 12
    assert {row["decision"] for row in rows} == {"accept", "reject"}
    assert all({"path", "score", "threshold", "p_value", "display_score", "regions"} <= set(row) for row in rows)


def test_inspect_writes_verdicts_and_overlays(run, bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    run("inspect", bundle_file, product_folder / "test", "-o", tmp_path / "out")
    assert len((tmp_path / "out" / "verdicts.jsonl").read_text(encoding="utf-8").splitlines()) == 12
    assert len(list((tmp_path / "out" / "overlays").rglob("*.png"))) == 12


def test_fail_on_reject_ends_with_status_1(run, bundle_file: Path, product_folder: Path) -> None:
    assert run("inspect", bundle_file, product_folder / "test" / "good", "--fail-on-reject").status == 0
    assert run("inspect", bundle_file, product_folder / "test" / "scratch", "--fail-on-reject").status == 1


def test_one_unreadable_image_does_not_stop_the_rest(
    run, bundle_file: Path, product_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "new"
    shutil.copytree(product_folder / "test" / "good", folder)
    (folder / "003.png").write_bytes((folder / "003.png").read_bytes()[:200])
    outcome = run("inspect", bundle_file, folder, "--json")
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert outcome.status == 2
    assert [("error" in row) for row in rows] == [False, False, False, True, False, False]
    assert "003.png" in outcome.stderr


def test_a_lot_is_judged_as_one(run, bundle_file: Path, product_folder: Path) -> None:
    outcome = run("inspect", bundle_file, product_folder / "test", "--lot", "--json", "--false-discovery-rate", "0.2")
    rows = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert sum(row["lot_rejected"] for row in rows) > 0
    assert "false discovery rate 20 %" in outcome.stderr


def test_the_drift_watch_goes_on_in_its_file(run, bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    watch = tmp_path / "drift.json"
    for _ in range(2):
        run("inspect", bundle_file, product_folder / "test" / "good", "--drift-state", watch)
    assert json.loads(watch.read_bytes())["state"]["num_parts"] == 12


def test_calibrate_changes_the_threshold_and_keeps_the_old_one(run, bundle_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(bundle_file, tmp_path / "part.blemish"))
    before = run("info", path, "--json").json
    run("calibrate", path, "--false-reject", "0.3", "--reason", "too strict")
    after = run("info", path, "--json").json
    assert after["threshold"] < before["threshold"]
    assert after["graph_sha256"] == before["graph_sha256"]
    assert after["bundle_id"] != before["bundle_id"]
    rows = run("calibrate", path, "--history", "--json").json["calibrations"]
    assert [row["reason"] for row in rows][1:] == ["too strict"]
    assert all(row["created"] and row["by"] and row["reason"] for row in rows)
    run("calibrate", path, "--restore", "1")
    assert run("info", path, "--json").json["threshold"] == before["threshold"]


def test_calibrate_refuses_images_of_the_fit(run, bundle_file: Path, product_folder: Path) -> None:
    outcome = run("calibrate", bundle_file, product_folder / "train" / "good")
    assert outcome.status == 2
    assert "16 of 16 images were used when this bundle was trained" in outcome.stderr


def test_rules_in_millimetres_need_the_scale(run, bundle_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "ruled.blemish"
    rule = ("--rule", "ignore spots under 0.1 mm2")
    assert run("calibrate", bundle_file, "-o", path, *rule).status == 2
    outcome = run("calibrate", bundle_file, "-o", path, *rule, "--mm-per-px", "0.1")
    assert outcome.status == 0
    assert "ignore spots" in outcome.stderr


def test_costs_choose_the_threshold(run, bundle_file: Path, product_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "costs.blemish"
    assumed = run("calibrate", bundle_file, "-o", path, "--cost-escape", "50")
    assert "it was assumed" in assumed.stderr
    measured = run(
        "calibrate", bundle_file, "-o", path, "--cost-escape", "50", "--defective", product_folder / "test" / "spot"
    )
    assert "it was assumed" not in measured.stderr


def test_saved_maps_are_judged(run, product_folder: Path, tmp_path: Path, product: TinyProduct) -> None:
    import numpy as np

    from blemish.datasets.index import open_dataset

    index = open_dataset(product_folder)
    for item in index.test:
        path = tmp_path / "maps" / Path(index.relative(item.path)).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.full((64, 64), float(not item.is_good), np.float32))
    found = run("evaluate", "--maps", tmp_path / "maps", product_folder, "--json").json
    assert found["image_auroc"] == 1.0
    assert "false_reject_rate" not in found


def test_compare_does_nothing_twice(run, product_folder: Path, tmp_path: Path) -> None:
    arguments = ("compare", product_folder, "--detectors", "template", "--size", "64", "-o", tmp_path, "--json")
    first = run(*arguments).json
    assert (first["num_new"], len(first["rows"]), first["failures"]) == (1, 1, [])
    assert (tmp_path / "index.html").exists()
    assert run(*arguments).json["num_new"] == 0


def test_a_failed_fit_does_not_stop_a_study(run, product_folder: Path, tmp_path: Path) -> None:
    outcome = run(
        "compare", product_folder, "--detectors", "template,padim", "--size", "64", "-o", tmp_path, "--set",
        "padim.layers=none", "--json",
    )  # fmt: skip
    assert outcome.status == 2
    assert [row["detector"] for row in outcome.json["rows"]] == ["template"]
    assert outcome.json["failures"][0]["detector"] == "padim"


def test_detectors_and_backbones_are_listed(run) -> None:
    names = [row["name"] for row in run("detectors", "--json").json["detectors"]]
    assert names[:3] == ["patchcore", "padim", "template"]
    [shipped] = [row for row in run("backbones", "--json").json["backbones"] if row["name"] == "efficientnet-lite0"]
    assert shipped["licence"] == "Apache-2.0"


def test_data_check_and_list(run, product_folder: Path) -> None:
    assert run("data", "check", product_folder, "--json").json["trainable"] is True
    [row] = run("data", "list", product_folder, "--json").json["datasets"]
    assert (row["num_train_good"], row["num_test_good"], row["num_test_defective"]) == (16, 6, 6)


def test_suspicious_good_images_are_named_with_what_to_do(
    run, product_folder: Path, backbone_description: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(product_folder, tmp_path / "part"))
    check = ("data", "check", folder, "--suspicious", "--backbone", backbone_description, "--size", "64")
    clean = run(*check)
    assert clean.status == 0
    assert "none of 16 good images stands out" in clean.stdout
    write_png(folder / "train" / "good" / "007.png", make_tiny_product(seed=1).defects[1].image)
    found = run(*check)
    assert found.status == 0
    assert "of 16 good images look unlike the others" in found.stdout
    assert re.search(r"first:\n  score \S+  p-value 0\.06\d  train/good/007\.png\n", found.stdout)
    assert "move a defective part to test/<defect>" in found.stderr
    first = run(*check, "--json").json["good_images"][0]
    assert (Path(first["path"]).name, first["is_suspicious"]) == ("007.png", True)


def test_large_images_are_cut_into_tiles(run, product: TinyProduct, backbone_description: str, tmp_path: Path) -> None:
    import numpy as np

    for number in range(6):
        strip = np.concatenate([product.good[(number + place) % 16] for place in range(4)], axis=1)
        write_png(tmp_path / "good" / f"{number}.png", strip)
    path = tmp_path / "strips.blemish"
    made = run(
        "train", tmp_path / "good", "-o", path, "--tile", "64", "--backbone", backbone_description, "--json"
    ).json
    assert (made["tile_px"], made["input_hw"], made["num_good"]) == (64, [64, 64], 6)
    assert "squares of 64 pixels; 42 were learned from" in run("info", path).stdout
    outcome = run("inspect", path, tmp_path / "good", "-o", tmp_path / "out", "--json")
    assert outcome.status == 0
    assert len(outcome.stdout.splitlines()) == 6
    refused = run("train", tmp_path / "good", "-o", tmp_path / "no", "--tile", "64", "--detector", "padim")
    assert refused.status == 2
    assert "leave --tile out" in refused.stderr


def test_ctrl_c_leaves_no_file(product_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "part.blemish"
    program = (
        "import signal, sys, _thread\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job starts with it ignored\n"
        "import blemish.workflow.train as train\n"
        "from blemish.cli.main import main\n"
        "real = train.calibrate_held_out\n"
        "def interrupted(*a, **k):\n"
        "    _thread.interrupt_main()\n"
        "    return real(*a, **k)\n"
        "train.calibrate_held_out = interrupted\n"
        f"sys.argv = ['blemish', 'train', {str(product_folder)!r}, '-o', {str(path)!r}, '--detector', 'template', "
        "'--size', '64']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
