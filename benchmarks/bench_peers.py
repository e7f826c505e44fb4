"""What others do with the same audio: libraries, a large model, and a plain training loop."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tsresformer.config import Config, FeatureConfig
from tsresformer.models.ts_resformer import TSResformer

Waveform = NDArray[np.float32]


def missing(package: str) -> str:
    """Why a peer is not measured; empty if it is installed."""
    found = importlib.util.find_spec(package) is not None
    return "" if found else f"{package} is not installed (extra: bench)"


def librosa_log_mel(waveform: Waveform, config: FeatureConfig) -> Waveform:
    """Log-mel by librosa."""
    import librosa

    power = librosa.feature.melspectrogram(
        y=waveform,
        sr=config.sample_rate,
        n_fft=config.n_fft,
        hop_length=config.hop_length,
        n_mels=config.n_mels,
    )
    log_mel: Waveform = librosa.power_to_db(power, ref=np.max, top_db=config.top_db)
    return log_mel


def librosa_features(files: Sequence[Path], config: FeatureConfig) -> None:
    """Load and transform by librosa."""
    import librosa

    for file in files:
        librosa_log_mel(librosa.load(file, sr=config.sample_rate)[0], config)


def essentia_features(files: Sequence[Path], config: FeatureConfig) -> Callable[[], None]:
    """Load by essentia's loader, and its mel bands frame by frame, as its tutorial has it."""
    import essentia
    import essentia.standard as es

    essentia.log.infoActive = False
    window, spectrum = es.Windowing(type="hann"), es.Spectrum(size=config.n_fft)
    bands = es.MelBands(
        numberBands=config.n_mels,
        sampleRate=config.sample_rate,
        inputSize=config.n_fft // 2 + 1,
        highFrequencyBound=config.sample_rate / 2,
    )

    def run() -> None:
        for file in files:
            waveform = es.MonoLoader(filename=str(file), sampleRate=config.sample_rate)()
            frames = es.FrameGenerator(
                waveform, frameSize=config.n_fft, hopSize=config.hop_length, startFromZero=False
            )
            10 * np.log10(np.maximum([bands(spectrum(window(frame))) for frame in frames], 1e-10))

    return run


class SpectrogramTransformer:
    """The Audio Spectrogram Transformer of the library `transformers`, with random weights."""

    SAMPLE_RATE = 16_000
    WINDOW_S = 10.24

    def __init__(self) -> None:
        from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

        self._extractor: Any = ASTFeatureExtractor()
        self._network: Any = ASTForAudioClassification(ASTConfig()).eval()

    def extract(self, waveform: Waveform) -> Any:
        """Inputs of the network for each full window of a waveform at 16 kHz."""
        length = round(self.WINDOW_S * self.SAMPLE_RATE)
        n_windows = max(1, len(waveform) // length)
        windows = [waveform[k * length : (k + 1) * length] for k in range(n_windows)]
        inputs = self._extractor(windows, sampling_rate=self.SAMPLE_RATE, return_tensors="pt")
        return inputs.input_values

    def score(self, inputs: Any) -> None:
        """Run the network."""
        with torch.no_grad():
            self._network(inputs)

    def pipeline(self, files: Sequence[Path]) -> None:
        """Load by librosa, extract and score."""
        import librosa

        for file in files:
            self.score(self.extract(librosa.load(file, sr=self.SAMPLE_RATE)[0]))


class _Clips(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """Each item loads a file by librosa and takes a window of its log-mel."""

    def __init__(self, files: Sequence[Path], config: FeatureConfig, n_frames: int) -> None:
        self._files, self._config, self._n_frames = files, config, n_frames

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        import librosa

        waveform, _ = librosa.load(self._files[index], sr=self._config.sample_rate)
        log_mel = librosa_log_mel(waveform, self._config)
        return torch.from_numpy(
            np.resize(log_mel.T, (self._n_frames, log_mel.shape[0])).T.copy()
        ), 0


def student_loop(
    files: Sequence[Path], config: Config, features: FeatureConfig, n_frames: int, n_classes: int
) -> Callable[[], None]:
    """One epoch of our network in a plain loop: a DataLoader over audio files, Adam, one thread."""
    network = TSResformer(config.model, features, n_classes)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    loader = torch.utils.data.DataLoader(
        _Clips(files, features, n_frames), batch_size=config.train.batch_size, shuffle=True
    )

    def run() -> None:
        network.train()
        for log_mel, target in loader:
            optimiser.zero_grad()
            loss = criterion(network(log_mel).logits, target)
            loss.backward()
            optimiser.step()

    return run
