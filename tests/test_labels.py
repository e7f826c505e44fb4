import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsresformer.labels import (
    FMA_SMALL,
    GTZAN,
    NearMiss,
    canonical,
    edit_distance,
    fold,
    near_misses,
)


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (("Hip-Hop", "hip hop", "HipHop", "Hip-Hop ", " HIP_HOP"), "hiphop"),
        (("R&B", "RnB", "r and b", "R & B"), "rnb"),
        (("Drum & Bass", "drum'n'bass", "Drum and Bass"), "drumnbass"),
        (("Música", "Musica", "MU\u0301SICA"), "musica"),
        (("ﬁlm", "Film"), "film"),
    ],
)
def test_spellings_of_one_name_share_a_key(spellings: tuple[str, ...], key: str) -> None:
    assert {fold(name) for name in spellings} == {key}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Rock", "Pop"),
        ("グルーヴ", "クルーフ"),
        ("???", "!!!"),
        ("Band", "Bnd"),
        ("Rock 2", "Rock 3"),
    ],
)
def test_different_names_keep_different_keys(one: str, other: str) -> None:
    assert fold(one) != fold(other)


@given(st.text(max_size=20))
def test_folding_ignores_case_and_surrounding_blanks(name: str) -> None:
    assert fold(f"  {name}\t") == fold(name)
    assert fold(fold(name)) == fold(name)


def test_canonical_finds_the_vocabularys_spelling() -> None:
    assert canonical("HIP HOP", FMA_SMALL) == "Hip-Hop"
    assert canonical("Hip-Hop", GTZAN) == "hiphop"
    assert canonical("polka", GTZAN) is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("", "", 0),
        ("rock", "rock", 0),
        ("rock", "rokc", 1),
        ("reggae", "regae", 1),
        ("jazz", "jzaz", 1),
        ("pop", "hop", 1),
        ("kitten", "sitting", 3),
        ("abc", "", 3),
    ],
)
def test_edit_distance(one: str, other: str, expected: int) -> None:
    assert edit_distance(one, other) == edit_distance(other, one) == expected


def test_slips_name_the_rare_and_the_frequent_label() -> None:
    counts = {
        "Electronic": 90,
        "Eletcronic": 1,
        "Hip-Hop": 30,
        "Hip Hop": 20,
        "Rock": 50,
        "Rokc": 2,
    }
    assert near_misses(counts) == [
        NearMiss("Hip Hop", "Hip-Hop", same_spelling=True),
        NearMiss("Rokc", "Rock", same_spelling=False),
        NearMiss("Eletcronic", "Electronic", same_spelling=False),
    ]


@pytest.mark.parametrize(
    "counts",
    [
        {"Electronic": 90, "Electronica": 60},  # both are frequent
        {"Punk": 90, "Funk": 1},  # both are genres
        {"Pop": 90, "Hop": 1},  # too short to tell
        dict.fromkeys(FMA_SMALL, 1),
        dict.fromkeys(GTZAN, 1),
        {},
    ],
)
def test_names_that_may_both_be_meant_are_left_alone(counts: dict[str, int]) -> None:
    assert near_misses(counts) == []


def test_the_vocabularies_are_sorted_and_free_of_near_misses() -> None:
    assert list(FMA_SMALL) == sorted(FMA_SMALL) and len(FMA_SMALL) == 8
    assert list(GTZAN) == sorted(GTZAN) and len(GTZAN) == 10
