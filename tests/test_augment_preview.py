"""The gallery of an augmentation."""

import augment_batches
import numpy as np
import pytest
from PIL import Image

from cifarzoo.augment.preview import GAP, MARGIN, SCALE, draw_gallery
from cifarzoo.cli import main
from cifarzoo.data.statistics import mean_colour
from cifarzoo.errors import CifarzooError, ExperimentError

CELL = 32 * SCALE + GAP


def test_the_gallery_shows_the_originals_and_then_each_step(tmp_path):
    images, labels = augment_batches.batch(6)
    path = draw_gallery([{"flip": {"probability": 1.0}}], images, labels, tmp_path / "new" / "flip.png", columns=3)
    picture = np.asarray(Image.open(path))
    assert picture.shape == (6 * CELL + GAP, 4 * CELL + MARGIN + GAP, 3)
    for row, image in enumerate(images):
        top = GAP + row * CELL
        original = picture[top : top + 96 : SCALE, GAP : GAP + 96 : SCALE]
        np.testing.assert_array_equal(original, image)
        for column in range(3):
            left = GAP + MARGIN + (column + 1) * CELL
            np.testing.assert_array_equal(picture[top : top + 96 : SCALE, left : left + 96 : SCALE], image[:, ::-1])


def test_the_seed_decides_the_gallery(tmp_path):
    images, labels = augment_batches.batch(4)
    draw = lambda name, seed: draw_gallery("mixup", images, labels, tmp_path / name, 2, seed).read_bytes()  # noqa: E731
    assert draw("a.png", 0) == draw("b.png", 0) != draw("c.png", 1)


def test_the_command_takes_a_name_or_a_list_and_fills_with_the_mean_of_the_data(tmp_path, monkeypatch):
    def draw(name, *arguments):
        monkeypatch.setattr("sys.argv", ["cifarzoo", "augment", "--preview", *arguments, str(tmp_path / name)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code

    assert draw("name.png", "autoaugment") in (None, 0)
    assert np.asarray(Image.open(tmp_path / "name.png")).shape[0] == 8 * CELL + GAP
    assert draw("list.png", "[{cutout: {size: 32}}]") in (None, 0)
    picture = np.asarray(Image.open(tmp_path / "list.png"))
    augmented = picture[GAP : GAP + 96, GAP + MARGIN + CELL :].reshape(-1, 3).tolist()
    assert list(mean_colour("synthetic")) in augmented


@pytest.mark.parametrize("description", ["{cutout: {size: 8}}", "5", "null", "[{policies: {file: 5}}]"])
def test_a_wrong_augmentation_is_a_one_line_error(description, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["cifarzoo", "augment", "--preview", description, str(tmp_path / "a.png")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and "cifarzoo: error: augmentation" in capsys.readouterr().err


def test_a_gallery_that_cannot_be_drawn_is_a_one_line_error(tmp_path):
    images, labels = augment_batches.batch(2)
    with pytest.raises(ExperimentError, match="cutmix, got 'twirl'"):
        draw_gallery("twirl", images, labels, tmp_path / "a.png")
    with pytest.raises(CifarzooError, match="uint8"):
        draw_gallery("none", images / 255, labels, tmp_path / "a.png")
    with pytest.raises(CifarzooError, match="columns=0"):
        draw_gallery("none", images, labels, tmp_path / "a.png", columns=0)
    with pytest.raises(CifarzooError, match="too large"):
        draw_gallery("none", images, labels, tmp_path / "a.png", columns=10**6)
    (tmp_path / "file").write_text("")
    with pytest.raises(CifarzooError, match="cannot write"):
        draw_gallery("none", images, labels, tmp_path / "file" / "a.png")
