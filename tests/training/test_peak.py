"""The peak: the fastest of several convolutions."""

from __future__ import annotations

import itertools

import pytest
import torch

from nas.training import peak


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_peak_is_that_of_the_fastest_convolution_after_the_first(monkeypatch, precision):
    done = []
    # 50 ms for the first that is timed, then 20, 40 and 20 again.
    times = itertools.accumulate([0, 0.05, 1, 0.02, 1, 0.04, 1, 0.02])
    monkeypatch.setattr(peak, "_convolve", lambda *tensors: done.append(tensors))
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(times))
    speed = peak.convolution_speed(torch.device("cpu"), precision)
    num_images, channels, side = peak.SHAPE
    num_macs = num_images * side**2 * channels * channels * 9
    assert speed == pytest.approx(2 * num_macs / 0.02)
    assert len(done) == 1 + 3  # 0.05 + 0.02 + 0.04 s are enough
    assert {tensor.dtype for tensors in done for tensor in tensors} == {precision}


def test_peak_is_measured_by_convolutions():
    assert peak.convolution_speed(torch.device("cpu"), torch.float32) > 1e6
