"""The settings of networks and features that are as small as can be."""

FEATURES = {"sample_rate": 16000, "n_fft": 1024, "hop_length": 512, "n_mels": 32}

SETTINGS = (
    "slicing.slice_s=1.0",
    "model.front_channels=2",
    "model.residual_widths=[8, 16]",
    "model.residual_depths=[1, 1]",
    "model.d_model=16",
    "model.n_layers=1",
    "model.d_feedforward=16",
    "train.batch_size=8",
    "train.ema_decay=0.9",
    "train.dev_fraction=0.3",
    "seed=1",
)
