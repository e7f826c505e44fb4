"""Studies as files: the grid that they span, and what is wrong with one that cannot be."""

import pytest

from tsresformer.cli import run as command_line
from tsresformer.config import load_config
from tsresformer.errors import StudyError
from tsresformer.splits import Protocol
from tsresformer.studies.plan import Tuning, load_study, shipped_studies
from tsresformer.studies.runner import n_trainings

SHIPPED = {
    # name: cells, trainings
    "attention": (27, 27),
    "augmentation": (18, 18),
    "baselines": (54, 234),  # a classical model is fitted again when it was tuned
    "data_size": (15, 15),
    "features": (7, 7),
    "leak_audit": (4, 4),
    "models": (24, 96),
    "paper": (4, 4),
    "slice_duration": (15, 15),
}


def test_every_shipped_study_resolves_and_has_the_size_that_is_said():
    found = {name: load_study(name) for name in shipped_studies()}
    assert {n: (len(s.cells), n_trainings(s)) for n, s in found.items()} == SHIPPED
    for study in found.values():
        names = [cell.name for cell in study.cells]
        assert len(set(names)) == len(names)
        assert study.plan.config == ("paper" if study.name == "paper" else "lean")


def test_shipped_variants_are_what_their_names_say():
    def models(name, axis):
        study = load_study(name)
        return {
            cell.values[axis]: study.spec(cell)
            for cell in study.cells
            if (cell.seed, cell.protocol) == (0, study.plan.protocols[0])
        }

    found = models("models", "model")
    assert {n: (s.config.model.attention, s.config.model.left, s.config.model.right)
            for n, s in found.items()} == {
        "ts_resformer": ("time_frequency", True, True),
        "res_transformer": ("none", True, True),
        "resnet_only": ("none", True, False),
        "transformer_only": ("none", False, True),
    }  # fmt: skip
    found = models("baselines", "model")
    deep = {n: s.config.model.architecture for n, s in found.items() if s.classical is None}
    assert deep == {
        n: n for n in ("ts_resformer", "vgg", "crnn", "gru", "resnet18_narrow", "patch_transformer")
    }
    assert [s.classical.model for s in found.values() if s.classical] == ["svm", "knn", "boosting"]
    one = models("attention", "attention")["one_scale"].config.model
    many = models("attention", "attention")["time_frequency"].config.model
    assert one.time_kernels == (7,)
    assert one.front_channels == 3 * many.front_channels  # as many channels in all


def test_slices_of_every_duration_are_cut_without_overlap_or_gap():
    for name in ("slice_duration", "leak_audit"):
        study = load_study(name)
        for cell in study.cells:
            slicing = study.spec(cell).config.slicing
            assert (slicing.windows, slicing.hop_s) == ("fixed", slicing.slice_s)


def test_what_shipped_studies_compare_with_is_a_value_that_they_run():
    references = {}
    for name in shipped_studies():
        study = load_study(name)
        for axis, label in study.plan.reference_labels.items():
            found = {{**cell.values, "protocol": cell.protocol}[axis] for cell in study.cells}
            assert label in found
            references[name] = label
    assert set(references) == set(shipped_studies())
    assert references["data_size"] == "1"
    assert float(references["slice_duration"]) == load_config("lean").slicing.slice_s


def test_cells_are_whole_grids_seed_by_seed_the_cheap_protocols_first(study_file):
    path = study_file(
        'seeds = [3, 1]\nprotocols = ["artist-kfold", "official"]\nfolds = [0, 2]\n'
        '[axes]\n"slicing.slice_s" = [1, 2.5]\n'
        '[axes.model]\nfull = {}\nleft = { "model.right" = false }'
    )
    study = load_study(path)
    assert [cell.name for cell in study.cells][:5] == [
        "slice_s-1--model-full--official--seed-3",
        "slice_s-1--model-left--official--seed-3",
        "slice_s-2.5--model-full--official--seed-3",
        "slice_s-2.5--model-left--official--seed-3",
        "slice_s-1--model-full--official--seed-1",
    ]
    assert len(study.cells) == 2 * 2 * 2 * 2
    kfold = study.cells[8]
    assert kfold.parts == [Protocol("artist-kfold", 0, 5, 0), Protocol("artist-kfold", 0, 5, 2)]
    assert (kfold.name, kfold.seed) == ("slice_s-1--model-full--artist-kfold--seed-3", 3)
    spec = study.spec(study.cells[3])
    assert (spec.config.slicing.slice_s, spec.config.model.right) == (2.5, False)
    assert (spec.config.seed, spec.config.train.epochs) == (3, 2)
    assert n_trainings(study) == 2 * (4 * 1 + 4 * 2)


def test_overrides_change_the_base_but_not_the_axes(study_file):
    path = study_file('[axes]\n"train.epochs" = [5]')
    study = load_study(path, ["train.epochs=9", "train.batch_size=4", "study.seeds=[7]"])
    spec = study.spec(study.cells[0])
    assert (spec.config.train.epochs, spec.config.train.batch_size) == (5, 4)
    assert spec.config.seed == 7


def test_the_axes_of_a_study_can_be_others():
    durations = "study.axes={%s}"
    for text in ('"slicing.slice_s"=[1.5, 3, 15]', '"slicing.slice_s": [1.5, 3, 15]'):  # or JSON
        study = load_study("slice_duration", [durations % text, "study.seeds=[0]"])
        assert [study.spec(cell).config.slicing.slice_s for cell in study.cells] == [1.5, 3, 15]
        assert study.cells[0].name == "slice_s-1.5--artist-kfold--seed-0"
        assert study.overrides == ()
    for text, message in (
        ('{"slicing.slice_s"=[1.5, 3]}', r"reference slicing.slice_s = '15' is none of 1.5, 3; "),
        ('{"model.n_layers"=[1, 2]}', r"reference slicing.slice_s = '15': .* is no axis"),
        ("[1.5, 3]", r"axes is a table; write it as 'study.axes={\"slicing.slice_s\"=\[3, 5"),
        ("slicing.slice_s=[1.5]", "axes is a table"),
        ("{slicing.slice_s=[1.5, 15]}", r'in quotes: "slicing.slice_s" = '),
        ('{"slicing.slice_s"=15}', "slicing.slice_s = 15: an axis is a list or a table"),
    ):
        with pytest.raises(StudyError, match=message):
            load_study("slice_duration", [f"study.axes={text}"])


def test_the_file_of_a_shipped_study_is_printed_as_it_is(tmp_path, capsysbinary):
    for name in shipped_studies():
        assert command_line(["study", "list", "--toml", name]) == 0
        path = tmp_path / f"{name}.toml"
        path.write_bytes(capsysbinary.readouterr().out)
        assert load_study(path).record() == load_study(name).record()
    assert command_line(["study", "list", "--toml", "baseline"]) == 2
    assert b"baseline: no shipped study (did you mean 'baselines'?); there are att" in (
        capsysbinary.readouterr().err
    )
    assert command_line(["study", "list", "--toml", "paper", "--json", "-"]) == 2
    with pytest.raises(StudyError, match=r"of a copy \('tsresformer study list --toml baselines'"):
        load_study("baselines", ["train.learning_rate=5e-4"])


def test_tuning_gives_every_variant_as_many_trials():
    tuning = Tuning(
        trials=3,
        space={"a": (1, 2), "b": (1, 2, 3)},
        own={"knn": {"k": (1, 2, 3)}},
    )
    drawn = tuning.settings("vgg")
    assert len(drawn) == 3
    assert drawn[0] == {"a": 1, "b": 1}
    assert drawn == tuning.settings("vgg")
    assert tuning.settings("knn") == [{"k": 1}, {"k": 2}, {"k": 3}]


@pytest.mark.parametrize(
    "override", ["train.learning_rate=5e-4", "train . batch_size = 4", "train={}"]
)
def test_what_trials_choose_cannot_be_set_for_all_of_them(study_file, override):
    path = study_file(
        "[axes.model]\na = {}\nb = {}\n[tuning]\ntrials = 2\n"
        'space = { "train.learning_rate" = [2e-3, 1e-3] }\n'
        '[tuning.own]\nb = { "train.batch_size" = [8, 16] }'
    )
    with pytest.raises(StudyError, match=rf"quick: --set {override}: is tuned by this study"):
        load_study(path, [override])
    assert load_study(path, ["train.epochs=1"]).overrides


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[axes]\n"model.atention" = ["se"]', r"model: unknown key atention \(did you mean 'att"),
        ('[axes]\n"model.attention" = ["sse"]', "model: attention = 'sse'"),
        ("[axes]\nmodel.attention = ['se']", r'in quotes: "model.attention" = \[...\]'),
        ("[axes.a]\nx = { 'classical.model' = 'forest' }", "model = 'forest'"),
        ("[axes]\n'data.fraction' = [2.0]", "fraction = 2.0"),
        ("[axes]\n'features.mels' = [64]", "unknown key mels"),
        ("protocols = ['artist']", "unknown protocol 'artist' "),
        ("folds = [7]", "folds = .7.: there are 0 to 4"),
        ("seed = [1]", r"unknown key seed \(did you mean 'seeds'"),
        ("reference = { model = 'x' }\n[axes.model]\ny = {}", "'x' is none of y"),
        ("x = 'a'", "x = 'a' is no axis"),
        ("[tuning]\ntrials = 1\nspace = { 'train.rate' = [1] }", "train: unknown key rate"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(study_file, text, message):
    with pytest.raises(StudyError, match=message) as stop:
        load_study(study_file(text))
    assert "quick" in str(stop.value)


def test_unknown_studies_and_overrides_are_refused(study_file):
    with pytest.raises(StudyError, match=r"no shipped study \(shipped: attention, "):
        load_study("leaks")
    with pytest.raises(StudyError, match=r"of a study, config, .*, folds, axes can be set"):
        load_study(study_file(""), ["study.title=T"])
    with pytest.raises(StudyError, match="not valid TOML"):
        load_study(study_file("= 3"))
