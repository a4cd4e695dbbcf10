"""Contact sheets: where pictures, bars and heat are. Keras draws nothing here."""

import importlib.util

import numpy as np
import pytest
from PIL import Image, ImageFont

from cifarzoo.errors import CifarzooError
from cifarzoo.inference.contact_sheet import DARK, GAP, LIGHT, SIDE, Tile, draw_sheet, heat_over, save_sheet
from cifarzoo.inference.fonts import font_for

RED = Image.new("RGB", (32, 32), (200, 30, 40))


def pixels(image):
    return np.asarray(image).astype(int)


def rgb(color):
    return tuple(bytes.fromhex(color[1:]))


def width_of(image, color):
    """The width in pixels of what has this color exactly."""
    columns = np.flatnonzero((pixels(image) == rgb(color)).all(axis=-1).any(axis=0))
    return columns.max() - columns.min() + 1


@pytest.mark.parametrize(("dark", "theme"), [(False, LIGHT), (True, DARK)])
def test_bars_are_as_long_as_probabilities_and_the_background_is_that_of_the_theme(dark, theme):
    sheet = draw_sheet([Tile("a.png", RED, [("cat", 0.75), ("dog", 0.25)])], dark=dark)
    assert sheet.getpixel((0, 0)) == rgb(theme.paper)
    whole = width_of(draw_sheet([Tile("a.png", RED, [("cat", 1.0)])], dark=dark), theme.best)
    assert 0.7 * SIDE < whole < SIDE  # the rest is for the number
    assert width_of(sheet, theme.best) == pytest.approx(0.75 * whole, abs=2)
    below = sheet.crop((0, GAP + SIDE, sheet.width, sheet.height))  # the frame has this color, too
    assert width_of(below, theme.bar) == pytest.approx(0.25 * whole, abs=2)
    assert sheet.getpixel((GAP + SIDE // 2, GAP + SIDE // 2)) == (200, 30, 40)


def test_a_true_class_is_red_only_if_the_answer_is_another():
    for answer, is_missed in (("cat", False), ("dog", True)):
        sheet = draw_sheet([Tile("cat/a.png", RED, [(answer, 1.0)], true_class="cat")])
        assert (pixels(sheet) == rgb(LIGHT.missed)).all(axis=-1).any() == is_missed


def test_small_pictures_keep_their_pixels_and_columns_fill_the_last_row():
    chess = Image.fromarray((np.indices((32, 32)).sum(0) % 2 * 255).astype(np.uint8)).convert("RGB")
    sheet = draw_sheet([Tile("", chess, [("a", 1.0)])])
    middle = pixels(sheet.crop((GAP + 90, GAP + 90, GAP + 180, GAP + 180)))
    assert set(middle.ravel()) == {0, 255}  # nothing between black and white
    tile = Tile("", RED, [("a", 1.0)])
    assert draw_sheet([tile] * 16).width == GAP + 4 * (SIDE + GAP)
    assert draw_sheet([tile] * 10).width == GAP + 5 * (SIDE + GAP)
    assert draw_sheet([tile] * 3, columns=1).width == GAP + SIDE + GAP
    pair = Tile("", RED, [("a", 1.0)], np.ones((4, 4)))
    assert draw_sheet([pair]).width == GAP + 2 * SIDE + GAP // 4 + GAP


def test_heat_is_strongest_where_the_map_is_and_absent_where_it_is_zero():
    heat = np.zeros((8, 8))
    heat[1, 6] = 5
    gray = Image.new("RGB", (160, 160), (128, 128, 128))
    change = np.abs(pixels(heat_over(gray, heat)) - 128).sum(axis=-1)
    row, column = np.unravel_index(change.argmax(), change.shape)
    assert abs(row - 30) < 10 and abs(column - 130) < 10  # each pixel of the map covers 20 x 20
    assert not change[80:, :80].any()
    assert heat_over(gray, np.zeros((8, 8))) is gray
    np.testing.assert_array_equal(pixels(heat_over(gray, heat)), pixels(heat_over(gray, heat * 1000)))


def test_long_names_and_control_characters_stay_inside_their_tile():
    long = Tile("folder/" * 40 + "\x1b[31m.png", RED, [("x" * 300, 0.5), ("y", 0.0)])
    sheet = draw_sheet([long], title="z" * 500)
    assert sheet.width == GAP + SIDE + GAP
    assert (pixels(sheet)[:, -GAP // 2 :] == 255).all()


def test_names_in_other_scripts_get_a_font_that_has_them():
    assert font_for("cat", 20).getname() == ImageFont.load_default(20).getname()
    if not importlib.util.find_spec("matplotlib"):
        pytest.skip("Matplotlib, which brings a font, is not installed")
    from matplotlib.ft2font import FT2Font

    font = font_for("Vögel ß, птица", 20)
    assert set(map(ord, "Vöß,птица")) <= set(FT2Font(font.path).get_charmap())
    assert font_for("\U0010fffd", 20).getname() == ImageFont.load_default(20).getname()  # no font has it


def test_sheets_are_png_files_that_appear_whole(tmp_path):
    sheet = draw_sheet([Tile("a", RED, [("cat", 1.0)])])
    with pytest.raises(CifarzooError, match="sheet.png: there is no folder .*new$"):
        save_sheet(sheet, tmp_path / "new" / "sheet.png")
    (tmp_path / "new").mkdir()
    save_sheet(sheet, tmp_path / "new" / "sheet.png")
    with Image.open(tmp_path / "new" / "sheet.png") as written:
        assert written.format == "PNG" and written.size == sheet.size
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sheet.png"]
    with pytest.raises(CifarzooError, match="sheet.jpg: the name of a contact sheet ends in .png"):
        save_sheet(sheet, tmp_path / "sheet.jpg")
    (tmp_path / "file").touch()
    with pytest.raises(CifarzooError, match="there is no folder"):
        save_sheet(sheet, tmp_path / "file" / "sheet.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(CifarzooError, match="cannot be written"):
        save_sheet(sheet, tmp_path / "folder.png")
    for count in (0, 401):
        with pytest.raises(CifarzooError, match=f"a contact sheet has 1 to 400 pictures, got {count}"):
            draw_sheet([Tile("", RED, [("a", 1.0)])] * count)
