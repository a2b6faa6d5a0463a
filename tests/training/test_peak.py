"""The peak: the fastest of many matrix products."""

from __future__ import annotations

import itertools

import pytest
import torch

from nas.training import peak


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_peak_is_that_of_the_fastest_product_after_the_first(monkeypatch, precision):
    products = []
    # 50 ms for the first that is timed, then 20, 40 and 20 again.
    times = itertools.accumulate([0, 0.05, 1, 0.02, 1, 0.04, 1, 0.02])
    monkeypatch.setattr(peak, "_multiply", products.append)
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(times))
    speed = peak.matrix_product_speed(torch.device("cpu"), precision)
    assert speed == pytest.approx(2 * peak.SIDE**3 / 0.02)
    assert len(products) == 1 + 3  # 0.05 + 0.02 + 0.04 s are enough
    assert {product.dtype for product in products} == {precision}
    assert products[0].shape == (peak.SIDE, peak.SIDE)


def test_peak_is_measured_by_products():
    assert peak.matrix_product_speed(torch.device("cpu"), torch.float32) > 1e6
