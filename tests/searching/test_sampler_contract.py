"""What Optuna asks of every sampler, of ours in front of each of Optuna's."""

from __future__ import annotations

from functools import partial

import pytest
from optuna.samplers import GPSampler, TPESampler
from optuna.testing.pytest_samplers import BasicSamplerTestCase, RelativeSamplerTestCase

from nas.searching import samplers
from nas.searching.samplers import SeededSampler
from nas.storage.leases import index_of


class TestEach(BasicSamplerTestCase):
    @pytest.fixture(params=["tpe", "gp", "random"])
    def sampler(self, request):
        return partial(SeededSampler, request.param, 0, index_of)


class TestJoint(RelativeSamplerTestCase):
    """Parameters that are drawn together, from the first trial on."""

    kind = TPESampler

    @pytest.fixture
    def sampler(self, monkeypatch):
        make = partial(self.kind, n_startup_trials=0)
        monkeypatch.setattr(samplers, "make_sampler", lambda name, seed: make(seed=seed))
        return partial(SeededSampler, "tpe", 0, index_of)


@pytest.mark.slow
class TestJointByGaussianProcess(TestJoint):
    kind = GPSampler
    test_sample_relative_numerical = None  # 36 cases in three minutes
