import dataclasses
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsresformer.errors import SplitError
from tsresformer.manifest import Manifest, Track
from tsresformer.splits import (
    OWN_SPLIT,
    PROTOCOLS,
    Protocol,
    check_groups,
    count_ungrouped,
    crossing_groups,
    development_fold,
    group_of,
    parse_protocol,
    slice_split,
    split,
)


def track(number: int, label: str = "Rock", group: str = "", **values: str) -> Track:
    return Track(track_id=f"t{number}", path=f"/x/{number}.mp3", label=label, group=group, **values)


def library(sizes: dict[str, list[int]]) -> Manifest:
    """Label -> numbers of tracks of its artists; every artist has one label."""
    rows = [
        (label, f"{label} {artist}")
        for label, artists in sizes.items()
        for artist, size in enumerate(artists)
        for _ in range(size)
    ]
    return Manifest(tuple(track(i, label, group) for i, (label, group) in enumerate(rows)))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    n_groups = draw(st.integers(5, 25))
    rows = []
    for group in range(n_groups):
        for _ in range(draw(st.integers(1, 6))):
            label = draw(st.sampled_from(["Rock", "Pop", "Folk", "Folk|Pop"]))
            rows.append(track(len(rows), label, draw(st.sampled_from(["", f"g{group}"]))))
    rows += [track(len(rows) + i, "Rock", f"g{i}") for i in range(5)]
    return Manifest(tuple(draw(st.permutations(rows))))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_is_recorded_can_be_read_back(name: str) -> None:
    protocol = Protocol(name) if name == "official" else Protocol(name, seed=7)
    assert parse_protocol(str(protocol)) == protocol


def test_recorded_texts_and_titles() -> None:
    assert str(Protocol("official", seed=9)) == "official"
    assert str(Protocol("artist-kfold", 3, 10, 2)) == "artist-kfold folds=10 fold=2 seed=3"
    assert str(Protocol("track", 3)) == "track seed=3"
    assert Protocol("slice", 4).title == (
        "slice split: TRACKS LEAK between training and test, seed 4"
    )
    assert "no artist on both sides" in Protocol("official").title
    assert "artists are on both sides" in Protocol("track").title
    assert parse_protocol("").name == ""
    assert [Protocol(name).leaks for name in PROTOCOLS] == [False, False, False, True]
    assert [Protocol(name).honest for name in PROTOCOLS] == [True, True, False, False]


@pytest.mark.parametrize("text", ["random", "track seed=x", "track depth=3", "artist-kfold fold=5"])
def test_an_unreadable_record_is_refused(text: str) -> None:
    with pytest.raises(SplitError):
        parse_protocol(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "artist_kfold"}, "did you mean 'artist-kfold'"),
        ({"protocol": "artist-kfold", "n_folds": 1}, "at least 2 folds"),
        ({"protocol": "artist-kfold", "fold": 5}, "fold 5 of 5"),
        ({"protocol": "artist-kfold", "n_folds": 9}, r"too few artists \(4\) for 9"),
        ({"protocol": "official"}, "has no split of its own.*artist-kfold"),
    ],
)
def test_a_protocol_that_cannot_be_served_is_refused(
    arguments: dict[str, int | str], message: str
) -> None:
    with pytest.raises(SplitError, match=message):
        split(library({"Rock": [2, 2, 2, 2]}), **arguments)


def test_a_manifest_without_usable_rows_is_refused() -> None:
    with pytest.raises(SplitError, match="no usable track has a label"):
        split(Manifest((track(0, status="silent"), track(1, label=""))), "track")


@settings(max_examples=40)
@given(manifests(), st.integers(0, 3), st.integers(2, 5))
def test_kfold_never_divides_an_artist(manifest: Manifest, seed: int, n_folds: int) -> None:
    for fold in range(n_folds):
        result = split(manifest, "artist-kfold", seed=seed, n_folds=n_folds, fold=fold)
        assert crossing_groups(result.tracks) == {}
        folds: dict[str, set[str]] = {}
        for row in result.tracks:
            folds.setdefault(group_of(row), set()).add(row.fold)
            assert row.split == ("test" if row.fold == str(fold) else "training")
        assert all(len(found) == 1 for found in folds.values())
        assert {row.fold for row in result.tracks} == {str(i) for i in range(n_folds)}


def test_kfold_gives_every_fold_its_share_of_every_class() -> None:
    manifest = library({"Rock": [1, 2, 3, 4] * 10, "Pop": [5] * 20, "Folk": [1] * 50})
    result = split(manifest, "artist-kfold", n_folds=5)
    counts = Counter((row.fold, row.label) for row in result.tracks)
    for fold in "01234":
        assert counts[fold, "Rock"] == pytest.approx(20, abs=1)
        assert counts[fold, "Pop"] == 20
        assert counts[fold, "Folk"] == 10


def test_kfold_is_as_balanced_as_sklearns() -> None:
    from sklearn import model_selection

    manifest = library({"A": [13, 8, 5, 3, 2, 1, 1, 1, 1], "B": [6] * 6, "C": [1] * 40})
    labels = [row.label for row in manifest.tracks]
    groups = [row.group for row in manifest.tracks]

    def worst(folds: list[int]) -> float:
        found = Counter(zip(folds, labels, strict=True))
        totals = Counter(labels)
        return max(
            abs(found[fold, name] / totals[name] - 1 / 5) for fold in range(5) for name in totals
        )

    theirs = [0] * len(labels)
    splitter = model_selection.StratifiedGroupKFold(5, shuffle=False)
    for fold, (_, test) in enumerate(splitter.split(labels, labels, groups)):
        for row in test:
            theirs[row] = fold
    ours = [int(row.fold) for row in split(manifest, "artist-kfold", n_folds=5).tracks]
    assert worst(ours) <= worst(theirs) + 1e-9


@pytest.mark.parametrize("protocol", ["artist-kfold", "track"])
def test_the_same_seed_gives_the_same_split_in_any_order(protocol: str) -> None:
    manifest = library({"Rock": [1] * 30, "Pop": [2] * 20})
    backwards = manifest.replace(reversed(manifest.tracks))

    def assignment(source: Manifest, seed: int) -> dict[str, str]:
        return {t.track_id: t.split for t in split(source, protocol, seed=seed).tracks}

    assert assignment(manifest, 1) == assignment(backwards, 1)
    assert assignment(manifest, 1) != assignment(manifest, 2)


def test_track_gives_a_tenth_of_every_class_to_each() -> None:
    manifest = library({"Rock": [200], "Pop": [95], "Folk": [7]})
    result = split(manifest, "track", seed=3)
    counts = Counter((row.label, row.split) for row in result.tracks)
    assert Counter(row.split for row in result.tracks)["test"] == 31
    for label, n in (("Rock", 200), ("Pop", 95), ("Folk", 7)):
        for name in ("test", "validation"):
            assert abs(counts[label, name] - n / 10) <= 1
    assert result.protocol == "track seed=3"
    check_groups(result)  # makes no promise about artists, so breaks none


def test_slice_marks_every_usable_track_as_training() -> None:
    rows = (track(0), track(1, status="silent"), track(2, label=""))
    result = split(Manifest(rows), "slice", seed=5)
    assert [row.split for row in result.tracks] == ["training", "", ""]
    assert result.protocol == "slice seed=5"


def test_slices_are_drawn_eight_to_one_to_one() -> None:
    draws = Counter(slice_split(0, f"t{i}", k) for i in range(500) for k in range(20))
    assert sum(draws.values()) == 10_000
    for name, share in (("training", 0.8), ("validation", 0.1), ("test", 0.1)):
        assert draws[name] / 10_000 == pytest.approx(share, abs=0.012)  # four deviations
    assert slice_split(0, "t1", 11) == slice_split(0, "t1", 11)
    draws_of_a_track = [slice_split(0, "t1", k) for k in range(200)]
    assert draws_of_a_track != [slice_split(1, "t1", k) for k in range(200)]
    assert draws_of_a_track != [slice_split(0, "t2", k) for k in range(200)]


def test_official_keeps_the_rows_and_drops_what_is_unusable() -> None:
    rows = (
        track(0, split="training", group="a"),
        track(1, split="test", group="b"),
        track(2, split="test", group="b", status="missing"),
        track(3, group="c"),
    )
    result = split(Manifest(rows), "official")
    assert [row.split for row in result.tracks] == ["training", "test", "", ""]
    assert result.protocol == "official"


def test_the_official_split_can_be_had_back() -> None:
    rows = tuple(
        track(i, group=f"g{i}", split="test" if i % 3 == 0 else "training") for i in range(30)
    )
    manifest = Manifest(rows)
    other = split(split(manifest, "track"), "artist-kfold")
    assert {row.extra[OWN_SPLIT] for row in other.tracks} == {"test", "training"}
    again = split(other, "official")
    assert [row.split for row in again.tracks] == [row.split for row in rows]
    assert {row.fold for row in again.tracks} == {""}
    broken = other.replace(
        dataclasses.replace(row, extra={OWN_SPLIT: "dev"}) for row in other.tracks
    )
    with pytest.raises(SplitError, match="x_official_split 'dev' is no split"):
        split(broken, "official")


def test_a_random_split_is_not_taken_for_the_official_one() -> None:
    manifest = split(library({"Rock": [1] * 20}), "track")
    with pytest.raises(SplitError, match="no split of its own"):
        split(manifest, "official")


def test_artists_on_both_sides_of_an_honest_split_are_named() -> None:
    rows = [track(i, group=f"g{i}", split="training") for i in range(5)]
    rows += [track(10 + i, group="77", artist="Kvile", split="training") for i in range(3)]
    rows += [track(20, group="77", artist="Kvile", split="test")]
    rows += [track(21, group="g1", split="validation")]
    rows += [track(22, group="g2", split="validation", status="duplicate"), track(23, group="g3")]
    manifest = Manifest(tuple(rows), path=Path("m.csv"))
    assert crossing_groups(rows) == {
        "g1": {"training": 1, "validation": 1},
        "77": {"training": 3, "test": 1},
    }
    expected = (
        "m.csv: 2 artists are on both sides of the split (g1: 1 training, 1 validation, "
        "77 (Kvile): 1 test, 3 training); use 'tsresformer data split --protocol artist-kfold'"
    )
    for attempt in (check_groups, lambda m: split(m, "official")):
        with pytest.raises(SplitError) as caught:
            attempt(manifest)
        assert str(caught.value) == expected
    check_groups(split(manifest, "artist-kfold", n_folds=2))


def test_a_track_without_a_group_is_an_artist_of_its_own() -> None:
    rows = (
        track(0, split="training"),
        track(1, split="test"),
        track(2, group="g", split="test"),
    )
    assert len({group_of(row) for row in rows}) == 3
    assert count_ungrouped(rows) == 2
    check_groups(Manifest(rows))


@settings(max_examples=40)
@given(manifests(), st.sampled_from([0.1, 0.25]), st.integers(0, 3))
def test_a_development_fold_shares_no_artist_with_the_rest(
    manifest: Manifest, fraction: float, seed: int
) -> None:
    training, development = development_fold(manifest.tracks, fraction, seed)
    assert training and development
    assert sorted(t.track_id for t in training + development) == sorted(
        t.track_id for t in manifest.tracks
    )
    assert not {group_of(t) for t in training} & {group_of(t) for t in development}


def test_a_development_fold_has_its_share_of_every_class() -> None:
    manifest = library({"Rock": [1, 2, 3, 4] * 20, "Pop": [5] * 20, "Folk": [1] * 100})
    _, development = development_fold(manifest.tracks, 0.1, seed=0)
    counts = Counter(row.label for row in development)
    assert counts["Rock"] == pytest.approx(20, abs=2)
    assert counts["Pop"] == pytest.approx(10, abs=5)  # artists have five tracks
    assert counts["Folk"] == pytest.approx(10, abs=1)
    assert development_fold(manifest.tracks, 0.1, seed=0)[1] == development
    assert development_fold(manifest.tracks, 0.1, seed=1)[1] != development


def test_two_artists_are_one_for_each_side_and_one_is_too_few() -> None:
    training, development = development_fold(library({"Rock": [5, 5]}).tracks, 0.1, 0)
    assert (len(training), len(development)) == (5, 5)
    with pytest.raises(SplitError, match=r"too few artists \(1\) for 2"):
        development_fold(library({"Rock": [5]}).tracks, 0.1, 0)
