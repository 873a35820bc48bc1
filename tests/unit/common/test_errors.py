"""Errors are one line, and stay themselves on the way through a pipe."""

import pickle

import pytest

from services.common.errors import Broken, CalyxError, InvalidInput, InvalidSetting, Refused, Unavailable

TREE = [CalyxError, InvalidInput, InvalidSetting, Unavailable, Refused, Broken]


@pytest.mark.parametrize("kind", TREE)
def test_says_what_is_wrong_and_what_to_do(kind):
    error = kind("loading a model: the shard is cut", "delete the file")
    assert str(error) == "loading a model: the shard is cut — delete the file"
    assert (error.problem, error.remedy) == ("loading a model: the shard is cut", "delete the file")


def test_a_remedy_is_optional():
    assert str(Refused("over the limit")) == "over the limit"
    assert Refused("over the limit").remedy is None


def test_is_one_line_whatever_it_quotes():
    assert str(Broken("a\n  b\tc", "d\r\ne")) == "a b c — d e"


@pytest.mark.parametrize("kind", TREE)
@pytest.mark.parametrize("remedy", ["do this", None])
def test_survives_pickling(kind, remedy):
    copy = pickle.loads(pickle.dumps(kind("what is wrong", remedy)))
    assert type(copy) is kind
    assert (copy.problem, copy.remedy) == ("what is wrong", remedy)


@pytest.mark.parametrize("kind", TREE)
def test_the_tree_is_the_drawn_one(kind):
    parent = {InvalidSetting: InvalidInput, CalyxError: Exception}.get(kind, CalyxError)
    assert kind.__bases__ == (parent,)
