"""Studies that the tests run: settings of tiny trainings, and one without any."""

TINY = {
    "slicing.slice_s": 2.0,
    "slicing.windows": "fixed",
    "model.front_channels": 2,
    "model.residual_widths": [8, 16],
    "model.residual_depths": [1, 1],
    "model.d_model": 16,
    "model.n_heads": 2,
    "model.n_layers": 1,
    "model.d_feedforward": 16,
    "train.batch_size": 8,
    "train.epochs": 2,
    "train.dev_fraction": 0.2,
}


WITHOUT_A_NETWORK = """\
title = "Without a network"
question = "Which classifier?"
config = "ts_resformer"
folds = [0, 1]

[axes.model]
knn = { "classical.model" = "knn", "classical.neighbours" = 3 }
svm = { "classical.model" = "svm" }
"""
"""A study that takes seconds."""


def toml(settings):
    """Settings as lines of a TOML table."""
    return "\n".join(
        f'"{key}" = {str(value).lower() if isinstance(value, bool) else value!r}'
        for key, value in settings.items()
    )
