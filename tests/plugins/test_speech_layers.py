"""The task `speech`: sound as a field, how samples become frames, and augmentation."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from seqkit_speech.fields import Waveform
from seqkit_speech.options import AugmentOptions, FrameOptions
from torch import Tensor

from tests.helpers.sound import needs_audio, tone, write_clips

# Sound as a field


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=700))
def test_samples_are_stored_bit_for_bit_in_rows_of_a_hop(integers: list[int]) -> None:
    samples = np.array(integers, dtype=np.float32) / 32768
    sound = Waveform(8000)
    rows = sound.encode(samples)
    assert rows.shape == (-(-len(integers) // 80), 80)
    assert rows.dtype == np.int16
    assert rows.reshape(-1)[: len(integers)].tolist() == integers
    assert not rows.reshape(-1)[len(integers) :].any()
    np.testing.assert_array_equal(sound.decode(rows)[: len(integers)], samples)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(0), "has no samples"),
        (np.array([0.0, np.nan]), "not a finite number"),
        (np.array([0.0, 1.5]), "goes up to 1.5, but full scale is 1"),
        (np.zeros((2, 3)), "has shape (2, 3)"),
        ("a.wav", "should be (N,) samples"),
    ],
)
def test_values_that_are_not_sound_are_refused(value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        Waveform(8000).encode(value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FrameOptions(hop_ms=30.0), "hop_ms 30 must be above 0 and at most window_ms 25"),
        (FrameOptions(features="mfcc", bands=10), "coefficients 13 must be at most bands 10"),
        (FrameOptions(low_hz=5000.0), "low_hz 5000 must be below half of the rate, 4000"),
        (FrameOptions(features="mfcc", filters=(8,)), "filters need neighbouring bands, which mfcc does not have"),
        (FrameOptions(hop_ms=0.01, window_ms=0.01), "hop_ms 0.01 must be above 0"),
    ],
)
def test_frame_options_that_contradict_each_other_are_refused(options: FrameOptions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Waveform(8000, frames=options)


def test_a_line_of_predict_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_clips(tmp_path, "a.wav"))
    clip = Waveform(8000).parse(" a.wav\n")
    assert clip.source.read(clip.name) == (tmp_path / "a.wav").read_bytes()
    with pytest.raises(ValueError, match="is empty"):
        Waveform(8000).parse("  ")


# The front end

OPTIONS = {
    "log-mel": FrameOptions(),
    "mfcc": FrameOptions(features="mfcc", coefficients=12),
    "deltas": FrameOptions(bands=20, deltas=2),
    "stacked": FrameOptions(stack=3, deltas=1),
    "convolved": FrameOptions(filters=(4, 6), deltas=1, bands=21, stack=2),
    "training": FrameOptions(normalise="training"),
    "plain": FrameOptions(normalise="none", window_ms=32.0, hop_ms=8.0),
}
RATE = 8000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal(size=round(seconds * RATE)) * 0.1 + tone(440, seconds, RATE), -1, 1).astype(np.float32)


CLIPS = [noise(0.31, 1), noise(0.005, 2), noise(0.12, 3), np.zeros(900, dtype=np.float32)]


def make_layer(options: FrameOptions, dim: int = 7, augment: AugmentOptions | None = None) -> tuple[Waveform, Any]:
    sound = Waveform(RATE, frames=options, augment=augment or AugmentOptions()).fit(CLIPS)
    torch.manual_seed(5)
    return sound, sound.layer(dim)


def pad_clips(sound: Waveform, clips: list[np.ndarray], *, extra: int = 0, fill: int = 0) -> tuple[Tensor, Tensor]:
    rows = [sound.encode(clip) for clip in clips]
    x = torch.full((len(rows), max(map(len, rows)) + extra, rows[0].shape[1]), fill)
    for row, values in zip(x, rows, strict=True):
        row[: len(values)] = torch.from_numpy(values.astype(np.int64))
    return x, torch.tensor([len(row) for row in rows])


@needs_audio
@pytest.mark.parametrize("name", OPTIONS)
def test_a_clip_has_the_same_frames_alone_and_in_a_batch(name: str) -> None:
    sound, layer = make_layer(OPTIONS[name])
    layer.eval()
    x, lengths = pad_clips(sound, CLIPS, extra=13, fill=12345)  # what is in the padding makes no difference
    steps, counts = layer(x, lengths)
    frames, _ = layer.frames(x, lengths)
    assert counts.tolist() == [-(-int(length) // OPTIONS[name].stack) for length in lengths]
    for row, clip in enumerate(CLIPS):
        alone, count = layer(*pad_clips(sound, [clip]))
        torch.testing.assert_close(steps[row : row + 1, : int(count)], alone, rtol=0, atol=1e-6)
        assert not steps[row, int(count) :].any()
        alone_frames, _ = layer.frames(*pad_clips(sound, [clip]))
        torch.testing.assert_close(frames[row : row + 1, : alone_frames.shape[1]], alone_frames, rtol=0, atol=2e-6)


@needs_audio
@pytest.mark.parametrize("filters", [(), (3, 5)])
def test_no_frame_sees_what_comes_after_it(filters: tuple[int, ...]) -> None:
    sound, layer = make_layer(FrameOptions(normalise="none", filters=filters))
    layer.eval()
    x, lengths = pad_clips(sound, [CLIPS[0]])
    before, _ = layer(x, lengths)
    x[:, 20:] = 7
    after, _ = layer(x, lengths)
    torch.testing.assert_close(before[:, :20], after[:, :20], rtol=0, atol=0)
    assert not torch.equal(before[:, 20], after[:, 20])


def test_convolutions_are_their_definition() -> None:
    from seqkit_speech.layers import Convolutions

    torch.manual_seed(3)
    module = Convolutions(2, 5, [3])
    frames = torch.randn(2, 4, 10)
    layer: Any = module.layers[0]
    weight, bias = layer.weight.detach(), torch.randn(3)
    layer.bias.data = bias
    output = module(frames)
    assert output.shape == (2, 4, FrameOptions(bands=5, deltas=1, filters=(3,)).convolved_channels)
    for clip, frame, filter_ in itertools.product(range(2), range(4), range(3)):
        answers = []
        for band in range(5):
            answer = float(bias[filter_])
            for plane, back, beside in itertools.product(range(2), range(3), (-1, 0, 1)):
                if frame - back >= 0 and 0 <= band + beside < 5:
                    value = frames[clip, frame - back, plane * 5 + band + beside]
                    answer += float(weight[filter_, plane, 2 - back, 1 + beside] * value)
            answers.append(max(answer, 0.0))
        wanted = [max(answers[0:2]), max(answers[2:4]), answers[4]]
        torch.testing.assert_close(output[clip, frame, filter_ * 3 : filter_ * 3 + 3], torch.tensor(wanted))


def log_mel_by_definition(samples: np.ndarray, options: FrameOptions, points: int) -> np.ndarray:
    """A log-mel spectrogram from its definition: one frame at a time, one triangle at a time (O'Shaughnessy's mel)."""
    window, hop = options.window_and_hop(RATE)
    steps = -(-len(samples) // hop)
    silent = np.concatenate([np.zeros(window), samples, np.zeros(steps * hop - len(samples))])
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)

    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    edges = 700 * (10 ** (np.linspace(mel(options.low_hz), mel(RATE / 2), options.bands + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, points // 2 + 1)
    rows = []
    for step in range(steps):
        end = window + (step + 1) * hop
        power = np.abs(np.fft.rfft(silent[end - window : end] * taper, points)) ** 2
        row = []
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
            triangle = np.minimum((hertz - low) / (middle - low), (high - hertz) / (high - middle)).clip(min=0)
            row.append(np.log(triangle @ power + 1e-6))
        rows.append(row)
    return np.array(rows)


@needs_audio
@pytest.mark.parametrize(
    "options",
    [FrameOptions(normalise="none"), FrameOptions(normalise="none", bands=26, window_ms=32, hop_ms=16, low_hz=80)],
)
def test_log_mel_is_its_definition(options: FrameOptions) -> None:
    sound, layer = make_layer(options)
    for clip in CLIPS[:3]:
        frames, _ = layer.eval().frames(*pad_clips(sound, [clip]))
        samples = sound.encode(clip).reshape(-1)[: len(clip)] / 32768
        expected = log_mel_by_definition(samples, options, layer.spectra.points)
        np.testing.assert_allclose(frames[0].numpy(), expected, atol=2e-3)


@needs_audio
def test_mfcc_is_the_cosine_transform_of_log_mel() -> None:
    from scipy.fft import dct

    clip = [CLIPS[0]]
    plain, cepstra = (
        make_layer(FrameOptions(normalise="none")),
        make_layer(FrameOptions(normalise="none", features="mfcc", coefficients=15)),
    )
    bands, _ = plain[1].eval().frames(*pad_clips(plain[0], clip))
    coefficients, _ = cepstra[1].eval().frames(*pad_clips(cepstra[0], clip))
    wanted = dct(bands[0].numpy(), norm="ortho", axis=1)[:, :15]
    np.testing.assert_allclose(coefficients[0].numpy(), wanted, atol=1e-4)


@needs_audio
def test_deltas_are_torchaudios_for_a_clip_without_padding() -> None:
    import torchaudio

    sound, layer = make_layer(FrameOptions(deltas=2, bands=15))
    frames, _ = layer.eval().frames(*pad_clips(sound, [CLIPS[0]]))
    base, slope, second = frames.split(15, dim=2)
    wanted = torchaudio.functional.compute_deltas(base.transpose(1, 2))
    torch.testing.assert_close(slope, wanted.transpose(1, 2))
    torch.testing.assert_close(second, torchaudio.functional.compute_deltas(wanted).transpose(1, 2))


@needs_audio
def test_a_clip_is_normalised_over_its_own_frames() -> None:
    sound, layer = make_layer(FrameOptions(bands=20))
    x, lengths = pad_clips(sound, CLIPS, extra=9)
    frames, _ = layer.eval().frames(x, lengths)
    for row in (0, 2):
        real = frames[row, : int(lengths[row])].double()
        torch.testing.assert_close(real.mean(dim=0), torch.zeros(20, dtype=torch.float64), atol=1e-6, rtol=0)
        torch.testing.assert_close(
            real.std(dim=0, correction=0), torch.ones(20, dtype=torch.float64), atol=1e-5, rtol=0
        )
    assert not frames[3].any()  # silence stays silence


@needs_audio
def test_the_training_data_normalises_if_asked() -> None:
    sound, layer = make_layer(FrameOptions(normalise="training", bands=20))
    x, lengths = pad_clips(sound, CLIPS)
    frames, _ = layer.eval().frames(x, lengths)
    real = torch.cat([row[: int(length)] for row, length in zip(frames, lengths, strict=True)])
    torch.testing.assert_close(real.mean(dim=0), torch.zeros(20), atol=1e-4, rtol=0)
    torch.testing.assert_close(real.std(dim=0, correction=0), torch.ones(20), atol=1e-4, rtol=0)
    again = Waveform(RATE, frames=sound.frames).restore(json.loads(json.dumps(sound.state())))
    assert again == sound
    assert {"mean", "deviation"} <= set(layer.state_dict())
    assert Waveform(RATE).fit(CLIPS) == Waveform(RATE)


@needs_audio
def test_a_saved_front_end_has_its_window_and_bands() -> None:
    _, layer = make_layer(FrameOptions(features="mfcc"))
    assert {name.rpartition(".")[2] for name in layer.state_dict()} >= {"window", "fb", "dct", "weight", "bias"}


@needs_audio
@pytest.mark.parametrize(("bands", "rate"), [(80, 8000), (128, 16000), (64, 48000)])
def test_no_band_is_empty(bands: int, rate: int) -> None:
    layer: Any = Waveform(rate, frames=FrameOptions(bands=bands)).layer(4)
    assert bool((layer.spectra.mel.mel_scale.fb.amax(dim=0) > 0).all())


@needs_audio
def test_more_bands_than_the_rate_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="bands: 3000 are too many"):
        Waveform(8000, frames=FrameOptions(bands=3000)).layer(4)


@needs_audio
def test_autocast_leaves_the_spectra_in_single_precision() -> None:
    sound, layer = make_layer(FrameOptions())
    x, lengths = pad_clips(sound, [CLIPS[0]])
    wanted, _ = layer.eval().frames(x, lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        steps, _ = layer(x, lengths)
        assert steps.dtype == torch.bfloat16
        with torch.autocast("cpu", enabled=False):
            torch.testing.assert_close(layer.frames(x, lengths)[0], wanted)


# Augmentation

EVERYTHING = AugmentOptions(
    shift_ms=30.0, speed=0.2, warp=0.1, noise_db=(5.0, 20.0), time_masks=2, time_mask_ms=50.0, band_masks=2
)


@needs_audio
def test_augmentation_is_for_training_only() -> None:
    sound, layer = make_layer(FrameOptions(), augment=EVERYTHING)
    _, plain = make_layer(FrameOptions())
    plain.load_state_dict(layer.state_dict())
    x, lengths = pad_clips(sound, CLIPS)
    torch.testing.assert_close(layer.eval()(x, lengths)[0], plain.eval()(x, lengths)[0], rtol=0, atol=0)
    assert layer.augment.drawn == 0
    assert not torch.equal(layer.train()(x, lengths)[0], layer(x, lengths)[0])
    assert layer.augment.drawn == 2


@needs_audio
def test_augmentation_continues_where_a_saved_model_stopped() -> None:
    sound, first = make_layer(FrameOptions(), augment=EVERYTHING)
    x, lengths = pad_clips(sound, CLIPS)
    first.train()
    for _ in range(3):
        first(x, lengths)
    saved = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    wanted = [first(x, lengths)[0] for _ in range(3)]
    torch.manual_seed(999)
    second = sound.layer(7).train()
    second.load_state_dict(saved)
    for steps in wanted:
        torch.rand(5)  # others draw from torch's generator in between
        torch.testing.assert_close(second(x, lengths)[0], steps, rtol=0, atol=0)


@needs_audio
def test_draws_depend_on_the_seed_alone() -> None:
    sound, first = make_layer(FrameOptions(), augment=EVERYTHING)
    _, again = make_layer(FrameOptions(), augment=EVERYTHING)
    torch.manual_seed(6)
    other = sound.layer(7)
    assert first.augment.seed == again.augment.seed != other.augment.seed


@needs_audio
def test_a_shift_moves_samples_and_fills_up_with_silence() -> None:
    sound, layer = make_layer(FrameOptions(), augment=AugmentOptions(shift_ms=20.0))
    x, lengths = pad_clips(sound, [CLIPS[0]] * 40)
    layer.augment.start_batch(True)
    rows = x.float() / 32768
    moved, counts = layer.augment.change_samples(rows, lengths)
    assert torch.equal(counts, lengths)
    wave = rows[0].reshape(-1)
    shifts = set()
    for row in moved.reshape(40, -1):
        matches = [s for s in range(-160, 161) if torch.equal(row, shifted(wave, s))]
        assert len(matches) == 1
        shifts.add(matches[0])
    assert len(shifts) > 20
    assert min(shifts) < -60 < 60 < max(shifts)


def shifted(wave: Tensor, by: int) -> Tensor:
    out = torch.zeros_like(wave)
    if by >= 0:
        out[by:] = wave[: len(wave) - by]
    else:
        out[:by] = wave[-by:]
    return out


@needs_audio
def test_speed_changes_length_and_pitch_together() -> None:
    sound, layer = make_layer(FrameOptions(), augment=AugmentOptions(speed=0.2))
    x, lengths = pad_clips(sound, [tone(500, 0.4).astype(np.float32), tone(500, 0.2).astype(np.float32)] * 10)
    layer.augment.start_batch(True)
    moved, counts = layer.augment.change_samples(x.float() / 32768, lengths)
    assert len(set(counts.tolist())) > 5
    for row, count, before in zip(moved, counts, lengths, strict=True):
        assert 0.8 - 0.03 <= int(before) / int(count) <= 1.2 + 0.03
        wave = row.reshape(-1)[: int(count) * 80].numpy()
        peak = np.fft.rfftfreq(8192, 1 / RATE)[np.abs(np.fft.rfft(wave, 8192)).argmax()]
        # The count is of whole frames: it is up to one more than the speed makes it.
        assert peak == pytest.approx(500 * int(before) / int(count), rel=1 / int(count) + 0.01)
        assert not row[int(count) :].any()


@needs_audio
def test_a_warp_is_linear_interpolation_at_scaled_frequencies() -> None:
    options, bands = FrameOptions(normalise="none"), 40
    _, layer = make_layer(options, augment=AugmentOptions(warp=0.2))
    layer.augment.start_batch(True)
    drawn = torch.Generator()
    drawn.set_state(layer.augment.generator.get_state())
    frames = torch.randn(6, 3, bands)
    warped = layer.augment.warp_bands(frames, options.low_hz)
    factors = 1.0 + 0.2 * (2.0 * torch.rand(6, generator=drawn).numpy().astype(np.float64) - 1.0)

    def mel(hertz: Any) -> Any:
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(options.low_hz), mel(RATE / 2), bands + 2)
    hertz = 700 * (10 ** (edges[1:-1] / 2595) - 1)
    assert len({*factors.tolist()}) == 6
    for clip, factor in enumerate(factors):
        for time in range(3):
            expected = np.interp(mel(hertz * factor), edges[1:-1], frames[clip, time].numpy())
            np.testing.assert_allclose(warped[clip, time].numpy(), expected, atol=1e-5)


@needs_audio
def test_a_warped_tone_is_where_a_faster_one_would_be() -> None:
    sound, layer = make_layer(FrameOptions(normalise="none"), augment=AugmentOptions(warp=0.2))
    x, lengths = pad_clips(sound, [tone(900, 0.3).astype(np.float32)] * 8)
    plain = layer.eval().frames(x, lengths)[0]
    warped, counts = layer.train().frames(x, lengths)
    assert torch.equal(counts, lengths)  # the pace is as it was
    peaks = {int(frames[5].argmax()) for frames in warped}
    assert min(peaks) < int(plain[0, 5].argmax()) < max(peaks)


@needs_audio
def test_a_single_band_can_be_warped() -> None:
    _, layer = make_layer(FrameOptions(bands=1), augment=AugmentOptions(warp=0.2))
    layer.augment.start_batch(True)
    frames = torch.randn(2, 3, 1)
    assert torch.equal(layer.augment.warp_bands(frames, 20.0), frames)


@needs_audio
def test_noise_has_the_ratio_asked_for_and_stays_inside_the_clip() -> None:
    sound, layer = make_layer(FrameOptions(), augment=AugmentOptions(noise_db=(10.0, 10.0)))
    x, lengths = pad_clips(sound, [tone(500, 2.0).astype(np.float32), tone(300, 1.0).astype(np.float32)], extra=20)
    rows = x.float() / 32768
    layer.augment.start_batch(True)
    noisy, _ = layer.augment.change_samples(rows, lengths)
    for before, after, length in zip(rows, noisy, lengths.tolist(), strict=True):
        added = (after - before)[:length]
        ratio = 10 * torch.log10(before[:length].square().mean() / added.square().mean())
        assert float(ratio) == pytest.approx(10.0, abs=0.3)
        assert not after[length:].any()


@needs_audio
def test_masks_hide_blocks_of_frames_and_bands_and_leave_most() -> None:
    _, layer = make_layer(
        FrameOptions(deltas=1), augment=AugmentOptions(time_masks=2, time_mask_ms=100.0, band_masks=1, band_mask=8)
    )
    lengths = torch.tensor([100, 30, 5, 1])
    frames = torch.ones(4, 100, 80)
    widths: set[int] = set()
    for _ in range(100):
        layer.augment.start_batch(True)
        masked = layer.augment.mask_frames(frames, lengths, base=40)
        for row, length in zip(masked, lengths.tolist(), strict=True):
            hidden_bands = (row == 0).all(dim=0)
            assert torch.equal(hidden_bands[:40], hidden_bands[40:])
            assert int(hidden_bands[:40].sum()) <= 8
            hidden = (row == 0).all(dim=1)
            assert not hidden[length:].any()
            assert int(hidden.sum()) <= 2 * min(10, length * 0.2)
            widths.add(int(hidden.sum()))
    assert len(widths) > 10


@needs_audio
def test_each_clip_is_augmented_in_its_own_way() -> None:
    sound, layer = make_layer(FrameOptions(normalise="none"), augment=AugmentOptions(shift_ms=50.0))
    steps, _ = layer.train()(*pad_clips(sound, [CLIPS[0]] * 6))
    assert len({tuple(row.flatten().tolist()) for row in steps}) == 6
