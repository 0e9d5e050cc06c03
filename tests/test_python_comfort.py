"""What a Python user meets: short reprs, pictures in a notebook, images in any form, verdicts that save themselves."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PilImage

import blemish
from blemish.images.decode import decode_image
from blemish.inspection.inspector import Inspector
from blemish.line.events import Judged
from blemish.model import Model
from blemish.schema import Evaluation, Verdict
from blemish.testing.tiny import TINY_HW, TinyProduct, write_png


@pytest.fixture(scope="module")
def verdict(model: Model, product: TinyProduct) -> Verdict:
    return model.inspect(product.defects[1].image)


@pytest.fixture(scope="module")
def evaluation(model: Model, product_folder: Path) -> Evaluation:
    return model.evaluate(product_folder)


class TestReprs:
    def test_all_are_short(self, model: Model, verdict: Verdict, evaluation: Evaluation) -> None:
        for value in (model, verdict, evaluation, model.bundle, verdict.regions[0], model.calibration.promise):
            assert len(repr(value)) < 2500 if value is model.bundle else len(repr(value)) < 500, type(value)
        assert "contour" not in repr(verdict)
        assert len(repr(model.calibration)) < 2000

    def test_they_say_what_counts(self, model: Model, verdict: Verdict, evaluation: Evaluation) -> None:
        assert repr(verdict).startswith("Verdict(reject, score ")
        assert "(0 to 100, rejected above 50), 1 region" in repr(verdict)
        assert repr(model).startswith("Model(patchcore on ")
        assert "16 good images of images" in repr(model)
        assert "6 good and 6 defective images, image AUROC 1.000, escapes " in repr(evaluation)

    def test_a_name_cannot_break_out_of_the_page(self, model: Model, product: TinyProduct, tmp_path: Path) -> None:
        path = write_png(tmp_path / "<b>x.png", product.held_out[0])
        assert "<b>x" not in model.inspect(path)._repr_html_()


class TestNotebooks:
    def test_a_verdict_shows_its_overlay(self, verdict: Verdict) -> None:
        png = verdict._repr_png_()
        assert png is not None
        np.testing.assert_array_equal(decode_image(png, "overlay"), verdict.overlay())
        assert 'src="data:image/png;base64,' in verdict._repr_html_()

    def test_a_verdict_without_its_image_shows_words(self, verdict: Verdict) -> None:
        from dataclasses import replace

        bare = replace(verdict, drawing=None)
        assert bare._repr_png_() is None
        assert "reject" in bare._repr_html_()
        with pytest.raises(blemish.SettingsError, match="the image was not kept"):
            bare.overlay()

    def test_a_model_and_an_evaluation_show_their_facts(self, model: Model, evaluation: Evaluation) -> None:
        assert "of good parts are rejected" in model._repr_html_()
        assert "<th>escape_rate</th>" in evaluation._repr_html_()


class TestVerdicts:
    def test_the_overlay_has_the_size_of_the_image_and_shows_the_region(
        self, verdict: Verdict, product: TinyProduct
    ) -> None:
        overlay = verdict.overlay()
        assert overlay.dtype == np.uint8
        assert overlay.ndim == 3
        assert not np.array_equal(overlay, product.defects[1].image)

    def test_it_is_saved_as_picture_or_numbers(self, verdict: Verdict, tmp_path: Path) -> None:
        assert verdict.save(tmp_path / "a.png") == tmp_path / "a.png"
        np.testing.assert_array_equal(decode_image((tmp_path / "a.png").read_bytes(), "a"), verdict.overlay())
        verdict.save(str(tmp_path / "a.json"))
        assert json.loads((tmp_path / "a.json").read_text("utf-8")) == verdict.to_dict()
        with pytest.raises(blemish.SettingsError, match=r"name it \.png"):
            verdict.save(tmp_path / "a.bmp")
        with pytest.raises(blemish.OutputError):
            verdict.save(tmp_path / "a.png" / "b.png")

    def test_the_dictionary_is_that_of_the_command_line(
        self, run, model: Model, bundle_path: Path, product_folder: Path
    ) -> None:
        path = product_folder / "test" / "spot" / "000.png"
        row = run("inspect", bundle_path, path, "--json").json
        found = model.inspect(path).to_dict()
        assert {name: row[name] for name in found if name != "milliseconds"} == {
            name: value for name, value in found.items() if name != "milliseconds"
        }

    def test_a_file_is_read_again_and_an_array_is_kept(
        self, model: Model, product: TinyProduct, tmp_path: Path
    ) -> None:
        path = write_png(tmp_path / "part.png", product.held_out[0])
        of_file = model.inspect(path)
        array = product.held_out[0].copy()
        of_array = model.inspect(array)
        before = of_array.overlay()
        array[:] = 0
        np.testing.assert_array_equal(of_array.overlay(), before)
        path.unlink()
        with pytest.raises(blemish.ImageError, match="no such file"):
            of_file.overlay()

    def test_it_draws_also_in_another_process(self, verdict: Verdict) -> None:
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(verdict)).overlay(), verdict.overlay())

    def test_verdicts_of_a_stream_draw_themselves(self, model: Model, product_folder: Path) -> None:
        for _, found in model.inspect_files(product_folder / "test" / "spot"):
            assert isinstance(found, Verdict)
            assert found.overlay().shape[2] == 3


class TestImages:
    def test_every_form_has_the_same_verdict(self, model: Model, product_folder: Path) -> None:
        path = product_folder / "test" / "spot" / "000.png"
        score = model.inspect(path).score
        forms = [str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), PilImage.open(path)]
        assert [model.inspect(form).score for form in forms] == [score] * 4
        assert model.inspect(cv2.imread(str(path)), channels="bgr").score == score
        assert Inspector(model.bundle).inspect(path.read_bytes()).score == score
        with path.open("rb") as file:
            assert model.inspect(file).score == score

    def test_none_of_imread_is_named(self, model: Model) -> None:
        with pytest.raises(blemish.ImageError, match=r"cv2\.imread gives None"):
            model.inspect(cv2.imread("nowhere.png"))

    def test_lists_and_stacks_are_batches(self, model: Model, product: TinyProduct, product_folder: Path) -> None:
        images = list(product.held_out[:3])
        scores = [model.inspect(image).score for image in images]
        assert [found.score for found in model.inspect(images)] == scores
        assert [found.score for found in model.inspect(np.stack(images))] == scores  # type: ignore[attr-defined]
        path = product_folder / "test" / "spot" / "000.png"
        assert [found.path for found in model.inspect([path, images[0]])] == [str(path), "image 1"]
        with pytest.raises(blemish.ImageError, match="image 1: None"):
            model.inspect([images[0], None])

    def test_a_folder_is_led_to_inspect_files(self, model: Model, product_folder: Path) -> None:
        with pytest.raises(blemish.ImageError, match="inspect_files"):
            model.inspect(product_folder)

    def test_training_takes_them_too(self, product: TinyProduct, tmp_path: Path) -> None:
        def trained(images: list[object], **more: object) -> Model:
            return blemish.train(images, detector="template", size=TINY_HW, **more)  # type: ignore[arg-type]

        graph = trained(list(product.good)).bundle.graph_sha256
        paths = [write_png(tmp_path / f"{number}.png", image) for number, image in enumerate(product.good)]
        assert trained(paths).bundle.graph_sha256 == graph
        assert trained([path.read_bytes() for path in paths]).bundle.graph_sha256 == graph
        assert trained([PilImage.fromarray(image) for image in product.good]).bundle.graph_sha256 == graph
        turned = [image[..., ::-1] for image in product.good]
        assert trained(turned, channels="bgr").bundle.graph_sha256 == graph
        assert blemish.train(np.stack(product.good), detector="template", size=TINY_HW).bundle.graph_sha256 == graph
        with pytest.raises(blemish.ImageError, match="image 2: None"):
            trained([*product.good[:2], None])
        with pytest.raises(blemish.ImageError, match="several good images"):
            blemish.train(product.good[0], detector="template")

    def test_a_source_takes_them_too(self, model: Model, product: TinyProduct, product_folder: Path) -> None:
        path = product_folder / "test" / "spot" / "000.png"
        given = [PilImage.fromarray(product.held_out[0]), path.read_bytes(), product.held_out[0]]
        events = model.inspect_source(blemish.open_source(given))
        assert [type(event) for event in events][:3] == [Judged] * 3

    def test_calibrate_says_what_it_takes(self, model: Model, product: TinyProduct) -> None:
        with pytest.raises(blemish.SettingsError, match="image files or folders"):
            model.calibrate([product.held_out[0]])  # type: ignore[list-item]
