"""Settings of the tiny trainings that the tests of studies run."""

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


def toml(settings):
    """Settings as lines of a TOML table."""
    return "\n".join(
        f'"{key}" = {str(value).lower() if isinstance(value, bool) else value!r}'
        for key, value in settings.items()
    )
