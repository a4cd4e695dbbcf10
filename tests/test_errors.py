"""One-line summaries of exceptions, for Python callers and for the command line."""

import keras
import pytest

from cifarzoo import cli, errors
from cifarzoo.errors import MistakesError, ModelError, set_debug, summarize

FOREIGN = RuntimeError("\na mistake\nin two lines")


def test_our_own_errors_keep_their_message():
    for debug in (None, False, True):
        if debug is not None:
            set_debug(debug)
        assert summarize(ModelError("depth is 20, got 21")) == "depth is 20, got 21"


def test_several_mistakes_have_a_line_each(capsys):
    several = MistakesError("a.yaml: lr\x1b: unknown key\na.yaml: seeds: expected a list, got 3")
    with pytest.raises(SystemExit):
        cli._end(summarize(several))
    assert capsys.readouterr().err == (
        "cifarzoo: error: a.yaml: lr\\x1b: unknown key\ncifarzoo: error: a.yaml: seeds: expected a list, got 3\n"
    )


def test_messages_are_readable_in_python_too():
    """A name in a damaged file may hold escapes, or 60,000 letters."""
    assert str(ModelError("a\x1b]0;x\a\nb")) == "a\\x1b]0;x\\x07\\nb"
    assert len(str(ModelError("x" * 60_000))) == errors.LONGEST_LINE
    assert str(MistakesError("a: wrong\x1b\nb: wrong")) == "a: wrong\\x1b\nb: wrong"


def test_python_callers_see_no_command_line_option(capsys):
    assert summarize(FOREIGN) == "RuntimeError: a mistake"
    assert summarize(KeyError()) == "KeyError: no message"
    assert capsys.readouterr().err == ""


def test_the_command_line_points_to_debug_or_prints_the_traceback(capsys):
    set_debug(False)
    assert summarize(FOREIGN) == "RuntimeError: a mistake (--debug shows where)"
    assert capsys.readouterr().err == ""
    set_debug(True)
    assert summarize(FOREIGN) == "RuntimeError: a mistake"
    assert "in two lines" in capsys.readouterr().err


def test_what_a_layer_raised_is_in_the_line():
    """Keras puts a line of its own before the layer's."""
    layer = keras.layers.Lambda(lambda inputs: inputs.no_such_method())
    with pytest.raises(Exception, match="encountered") as caught:
        layer(keras.ops.ones((1, 2)))
    assert summarize(caught.value).startswith("AttributeError: Exception encountered when calling Lambda.call(): ")
    assert "no_such_method" in summarize(caught.value)
