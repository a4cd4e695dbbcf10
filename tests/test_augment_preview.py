"""The gallery of an augmentation."""

import augment_batches
import numpy as np
import pytest
from PIL import Image

from cifarzoo.augment.operations import Operation, apply
from cifarzoo.augment.operations import table as operation_table
from cifarzoo.augment.pipeline import build
from cifarzoo.augment.preview import GAP, HEADER, LINE, MARGIN, SCALE, draw_gallery
from cifarzoo.augment.random import Draws
from cifarzoo.cli import main
from cifarzoo.data.statistics import mean_color
from cifarzoo.errors import CifarzooError, ExperimentError

CELL = 32 * SCALE + GAP
ROW = CELL + LINE  # with one line of caption


def test_the_gallery_shows_the_originals_and_then_each_step(tmp_path):
    images, labels = augment_batches.batch(6)
    path = draw_gallery([{"flip": {"probability": 1.0}}], images, labels, tmp_path / "new" / "flip.png", columns=3)
    picture = np.asarray(Image.open(path))
    assert picture.shape == (HEADER + 6 * ROW + GAP, 4 * CELL + MARGIN + GAP, 3)
    for row, image in enumerate(images):
        top = HEADER + row * ROW
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
        monkeypatch.delenv("CIFARZOO_DATA", raising=False)
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code

    assert draw("name.png", "autoaugment") in (None, 0)
    assert np.asarray(Image.open(tmp_path / "name.png")).shape[0] == HEADER + 8 * (CELL + 2 * LINE) + GAP
    assert draw("list.png", "[{cutout: {size: 32}}]") in (None, 0)
    picture = np.asarray(Image.open(tmp_path / "list.png"))
    augmented = picture[HEADER : HEADER + 96, GAP + MARGIN + CELL :].reshape(-1, 3).tolist()
    assert list(mean_color("synthetic")) in augmented


def texts_of(augmentation, images, labels, path, monkeypatch, **options):
    """The captions that a gallery writes, column by column and then image by image."""
    from PIL import ImageDraw

    written = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, *_: written.append((*place, text)))
    draw_gallery(augmentation, images, labels, path, **options)
    columns = {}
    for left, _, text in written:
        columns.setdefault(left, []).append(text)
    return list(columns.values())


def test_captions_say_which_operations_were_applied(tmp_path, monkeypatch):
    images, labels = augment_batches.batch(8)
    names = [f"name{k}" for k in range(10)]
    entry = [{"randaugment": {"operations_per_image": 1, "magnitude": 6}}]
    first, *steps = texts_of(entry, images, labels, tmp_path / "a.png", monkeypatch, columns=2, class_names=names)
    assert first == ["original", *(names[label] for label in labels)]
    assert [step[0] for step in steps] == [f"step {k}" for k in (1, 2)]
    operations = np.array([step[1:] for step in steps])  # [steps, images]
    # Each caption, applied by the operation's own kernel, gives the image in the gallery.
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    for step, captions in enumerate(operations):
        left = GAP + MARGIN + (step + 1) * CELL
        tops = [HEADER + row * ROW for row in range(8)]
        changed = [picture[top : top + 96 : SCALE, left : left + 96 : SCALE] for top in tops]
        claimed = [Operation(name, 1.0, float(value or 0)) for name, _, value in (c.partition(" ") for c in captions)]
        table, draws, mean = operation_table(claimed, 32, 32), np.full((8, 2), 0.75, "float32"), (125, 123, 114)
        alone = apply(images, 2 * np.arange(8, dtype="int32"), draws, table, mean, mean)
        np.testing.assert_array_equal(np.asarray(alone), changed)
    assert len(set(operations.ravel())) >= 8


def test_captions_give_the_shares_of_mixed_labels(tmp_path, monkeypatch):
    images, _ = augment_batches.batch(2)
    entry = [{"mixup": {"alpha": 1.0}}]
    _, step = texts_of(entry, images, np.array([3, 7]), tmp_path / "a.png", monkeypatch, columns=1)
    _, mixed = build(entry)(images, np.array([3, 7]), Draws(0, 0, np.arange(2, dtype="int32")))
    shares = [{f"class {k}": f"{100 * share:.0f}" for k, share in enumerate(row) if share} for row in np.asarray(mixed)]
    for caption, row in zip((step[1:3], step[3:]), shares, strict=True):
        assert sorted(caption) == sorted(f"{name} {share} %" for name, share in row.items())
        assert float(caption[0].split()[-2]) >= float(caption[1].split()[-2])


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
