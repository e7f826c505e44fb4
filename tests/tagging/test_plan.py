"""What becomes of a field."""

import pytest

from tagged_files import StubClassifier
from tsresformer.classifier import Prediction
from tsresformer.errors import ConfigError
from tsresformer.tagging import POLICIES
from tsresformer.tagging.plan import Options, decide, needs_model, read_map

MODEL = StubClassifier().bundle


def decided(before, said, **options):
    label = options.pop("label", max(said, key=said.__getitem__))
    prediction = Prediction("a", "ok", label=label, probabilities=said)
    row = decide("a", before, prediction, Options(**options), MODEL)
    return row.status, row.proposed, row.after


@pytest.mark.parametrize(
    ("policy", "before", "expected"),
    [
        ("fill", (), ("to write", ("Rock",))),
        ("replace", (), ("to write", ("Rock",))),
        ("replace", ("Pop", "Rock"), ("to write", ("Rock",))),
        ("replace", ("rock",), ("to write", ("Rock",))),
        ("replace", ("Rock",), ("kept", ("Rock",))),
        ("append", (), ("to write", ("Rock",))),
        ("append", ("Pop",), ("to write", ("Pop", "Rock"))),
        ("append", ("Pop", "ROCK"), ("kept", ("Pop", "ROCK"))),
        ("append", ("Pop", "pop"), ("to write", ("Pop", "pop", "Rock"))),
    ],
)
def test_policies(policy, before, expected):
    status, proposed, after = decided(before, {"Rock": 0.6, "Folk": 0.4}, policy=policy)
    assert (proposed, (status, after)) == (("Rock",), expected)


def test_only_fill_spares_the_model():
    asked = {p: needs_model(("Pop",), Options(policy=p)) for p in POLICIES}
    assert asked == {"fill": False, "replace": True, "append": True}
    assert needs_model((), Options(policy="fill"))


@pytest.mark.parametrize(
    ("least", "status"), [(None, "unsure"), (0.4, "to write"), (0.45, "to write"), (0.46, "unsure")]
)
def test_a_threshold_of_ones_own_replaces_the_models(least, status):
    found = decided((), {"Rock": 0.45, "Folk": 0.3}, min_confidence=least)
    assert found == (status, ("Rock",), ("Rock",) if status == "to write" else ())


def test_of_several_genres_those_that_are_sure():
    said = {"Rock": 0.9, "Folk": 0.6, "Electronic": 0.1}
    found = decided((), said, label="Folk|Rock", min_confidence=0.7)
    assert found == ("to write", ("Rock",), ("Rock",))
    assert decided((), said, label="Folk|Rock")[1] == ("Folk", "Rock")


def test_other_names():
    genres = {"Rock": ("Hard Rock", "hard rock", "Metal"), "Folk": ()}
    assert decided((), {"Rock": 0.9}, genres=genres)[2] == ("Hard Rock", "Metal")
    assert decided(("x",), {"Folk": 0.9}, genres=genres, policy="append") == (
        "not mapped",
        (),
        ("x",),
    )


def test_silence_and_failures_change_nothing():
    silent = decide("a", ("x",), Prediction("a", "silent"), Options(), MODEL)
    assert (silent.status, silent.after, silent.error) == ("silent", ("x",), None)
    failed = decide("a", (), Prediction("a", "undecodable", "broken"), Options(), MODEL)
    assert (failed.status, failed.after, failed.error) == ("undecodable", (), "broken")


def test_a_map(tmp_path):
    path = tmp_path / "genres.toml"
    path.write_text('[genres]\nRock = "Hard Rock"\nFolk = ["Folk", "Trad"]\nElectronic = ""\n')
    assert read_map(path, MODEL) == {
        "Rock": ("Hard Rock",),
        "Folk": ("Folk", "Trad"),
        "Electronic": (),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[genres]\nRok = 'x'", "Rok is no genre of stub .did you mean 'Rock'"),
        ("Rock = 'x'", r"one table \[genres\]"),
        ("[genres]\nRock = 3", "Rock: write a name"),
        ("[genres]\nRock = [' x']", "Rock: write a name"),
        ('[genres]\nRock = "a\\nb"', "Rock: write a name"),
        ("genres", "not valid TOML"),
    ],
)
def test_a_map_that_is_none(tmp_path, text, message):
    path = tmp_path / "genres.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_map(path, MODEL)
