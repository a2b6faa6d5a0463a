"""What a space holds, how long a search would take, and the verb that says both."""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

from nas.candidates.architecture import Architecture
from nas.candidates.candidate import Candidate
from nas.candidates.layers import Conv, Flatten, GlobalAvgPool, Linear
from nas.candidates.recipe import Recipe
from nas.cli.main import main
from nas.data import published
from nas.errors import DivergedError, InvalidCandidateError, SearchError
from nas.searching import estimate
from nas.searching.estimate import forecast, space_stats
from nas.searching.pruners import make_pruner
from nas.spaces.task import Task
from nas.training.messages import EpochDone, Restarted
from tests.fakes import FakePool, LocalPool, make_space, suggest

TASK = Task((1, 8, 8), 4, 150)  # widths 1 to 11 of `suggest` fit, 12 to 30 do not


def network(width, learning_rate=0.1, epochs=10):
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(4)]
    recipe = Recipe(epochs=epochs, learning_rate=learning_rate)
    return Candidate(Architecture((1, 8, 8), layers), recipe)


def space_of(num_networks):
    """Equally likely networks, each with many recipes."""

    def propose(trial, task):
        width = trial.suggest_int("width", 1, num_networks)
        return network(width, trial.suggest_float("learning_rate", 0.01, 0.1), task.epochs)

    return make_space(propose)


# What it holds


def test_draws_are_sorted_into_those_that_fit_are_over_or_cannot_exist():
    def propose(trial, task):
        candidate = suggest(trial, task)
        if trial.suggest_categorical("is_broken", [True, False]):
            raise InvalidCandidateError("broken")
        return candidate

    holdings = space_stats(make_space(propose), TASK, 600)
    assert holdings.num_drawn == 600
    assert holdings.num_invalid == pytest.approx(300, abs=50)
    assert len(holdings.fitting) == pytest.approx(110, abs=35)
    assert holdings.num_over == 600 - holdings.num_invalid - len(holdings.fitting)
    assert {c.architecture.layers[0].out_channels for c in holdings.fitting} == set(range(1, 12))
    assert holdings.num_distinct == 11


def test_every_limit_decides_what_fits():
    limits = replace(TASK.limits, max_macs=9 * 64 * 5 + 20)
    holdings = space_stats(make_space(), replace(TASK, limits=limits), 300)
    assert {c.architecture.layers[0].out_channels for c in holdings.fitting} == set(range(1, 6))


def test_stock_is_taken_of_the_same_draws_each_time():
    first, again = (space_stats(make_space(), TASK, 50) for _ in range(2))
    assert first == again
    assert space_stats(make_space(), TASK, 50, seed=1) != first


def test_space_of_which_nothing_fits_holds_nothing():
    holdings = space_stats(make_space(), replace(TASK, max_params=5), 20)
    assert (holdings.fitting, holdings.num_over, holdings.num_distinct) == ((), 20, 0)


def test_networks_are_the_same_whatever_their_recipes():
    holdings = space_stats(space_of(3), replace(TASK, max_params=1000), 60)
    assert holdings.num_distinct == 3


def test_no_more_candidates_are_trained_than_there_are():
    for num_drawn, expected in ((60, 3), (29, 20)):  # of few draws one cannot tell
        holdings = space_stats(make_space(lambda t, task: suggest(t, task)), TASK, 1)
        holdings = replace(holdings, fitting=tuple(network(1 + n % 3) for n in range(num_drawn)))
        assert holdings.most_trained(20) == expected
    assert holdings.most_trained(2) == 2
    varied = tuple(network(3, 0.01 + 1e-4 * n) for n in range(60))  # recipes count as well
    assert replace(holdings, fitting=varied).most_trained(20) == 20


# How long it takes

SECONDS_A_MAC, SECONDS_AN_IMAGE = 1e-8, 1e-5


@pytest.fixture
def steady(monkeypatch):
    """A machine whose time for an image grows with the multiply-accumulates."""
    probed = []

    def seconds_an_epoch(candidate, pool):
        probed.append(candidate)
        seconds_an_image = SECONDS_AN_IMAGE + SECONDS_A_MAC * candidate.architecture.num_macs
        return len(pool.data.train_index) * seconds_an_image

    monkeypatch.setattr(estimate, "_seconds_an_epoch", seconds_an_epoch)
    monkeypatch.setattr(estimate, "WorkerPool", lambda data, *_: LocalPool(data))
    return probed


def take_times(monkeypatch, *seconds_an_image):
    """A machine that takes so long with the first candidate that is tried, and the second."""
    times = iter(seconds_an_image)
    monkeypatch.setattr(
        estimate, "_seconds_an_epoch", lambda _, pool: next(times) * len(pool.data.train_index)
    )
    monkeypatch.setattr(estimate, "WorkerPool", lambda data, *_: LocalPool(data))


def expect(candidates, data, trials=10, workers=1, pruner="none"):
    made = make_pruner(pruner, max(c.recipe.epochs for c in candidates), len(data.train_index))
    return forecast(candidates, data, torch.float32, trials, workers, made, torch.device("cpu"))


def test_forecast_is_the_time_of_every_image_of_every_epoch(steady, tiny_data):
    candidates = [network(width) for width in range(1, 11)]
    expected = expect(candidates, tiny_data)
    num_images = 180 + 60 / 3
    mean_macs = sum(c.architecture.num_macs for c in candidates) / 10
    each = 10 * num_images * (SECONDS_AN_IMAGE + SECONDS_A_MAC * mean_macs)
    assert expected.seconds_each == pytest.approx(each)
    assert expected.seconds_most == pytest.approx(10 * each)
    assert expected.seconds_likely == pytest.approx(10 * each)


def test_speed_is_that_of_both_candidates_together(steady, tiny_data):
    candidates = [network(width) for width in range(1, 11)]
    speed = expect(candidates, tiny_data).speed
    macs = [candidate.architecture.num_macs for candidate in steady]
    num_images = len(tiny_data.train_index)
    batch_size = min(Recipe.batch_size, num_images)
    num_stepped = num_images // batch_size * batch_size
    seconds = num_images * (2 * SECONDS_AN_IMAGE + SECONDS_A_MAC * sum(macs))
    assert speed.flops_per_second == pytest.approx(2 * sum(macs) * (3 * num_stepped + 2) / seconds)
    assert speed.share == pytest.approx(speed.flops_per_second / LocalPool.peak)


def test_two_candidates_are_tried_one_small_and_one_large_but_not_the_extremes(steady, tiny_data):
    candidates = [network(width) for width in range(10, 0, -1)]
    expect(candidates, tiny_data)
    assert [c.architecture.layers[0].out_channels for c in steady] == [3, 9]


def test_forecast_of_a_single_candidate(steady, tiny_data):
    (only,) = candidates = [network(5)]
    expected = expect(candidates, tiny_data)
    macs = only.architecture.num_macs
    each = 10 * 200 * (SECONDS_AN_IMAGE + SECONDS_A_MAC * macs)
    assert expected.seconds_each == pytest.approx(each)


def test_forecast_grows_with_size_epochs_and_trials_and_falls_with_workers(steady, tiny_data):
    small, large = ([network(w) for w in widths] for widths in (range(1, 11), range(11, 21)))
    usual = expect(small, tiny_data)
    assert expect(large, tiny_data).seconds_each > 1.1 * usual.seconds_each
    longer = [network(w, epochs=20) for w in range(1, 11)]
    assert expect(longer, tiny_data).seconds_most == pytest.approx(2 * usual.seconds_most)
    assert expect(small, tiny_data, trials=30).seconds_most == pytest.approx(3 * usual.seconds_most)
    halved = expect(small, tiny_data, workers=2)
    assert halved.seconds_each == usual.seconds_each
    assert halved.seconds_most == pytest.approx(usual.seconds_most / 2)
    assert halved.seconds_likely == pytest.approx(usual.seconds_likely / 2)
    by_three = expect(small, tiny_data, workers=3)  # four rounds
    assert by_three.seconds_most == pytest.approx(4 * usual.seconds_each)


def test_more_workers_do_not_make_a_search_shorter_than_its_last_candidate_takes(
    steady, tiny_data, monkeypatch
):
    monkeypatch.setattr("nas.searching.pruners.FIRST_RUNG", 180)  # one epoch
    candidates = [network(width, epochs=19) for width in range(1, 11)]
    one, four, many = (
        expect(candidates, tiny_data, pruner="squeezed", trials=48, workers=n) for n in (1, 4, 48)
    )
    climb = one.seconds_each * (1 + 4 + 19) / 19
    assert four.seconds_likely == pytest.approx(one.seconds_likely / 4 + 3 / 4 * climb)
    assert many.seconds_likely == pytest.approx(climb)
    assert many.seconds_most == pytest.approx(climb)


def test_squeezed_is_expected_to_keep_two_of_eight_then_one_of_four_and_three_to_the_end(
    steady, tiny_data, monkeypatch
):
    monkeypatch.setattr("nas.searching.pruners.FIRST_RUNG", 180)  # one epoch
    candidates = [network(width, epochs=19) for width in range(1, 11)]
    expected = expect(candidates, tiny_data, pruner="squeezed")
    an_epoch = expected.seconds_each / 19
    assert expected.seconds_likely == pytest.approx(an_epoch * (10 + 3 * 4 + 3 * 19))
    many = expect(candidates, tiny_data, pruner="squeezed", trials=320)
    assert many.seconds_likely == pytest.approx(320 * an_epoch * (1 + 4 / 4 + 19 / 16))
    one = expect(candidates, tiny_data, pruner="squeezed", trials=1)
    assert one.seconds_likely == pytest.approx(an_epoch * (1 + 4 + 19))
    assert expect(candidates, tiny_data, pruner="median").seconds_likely == pytest.approx(
        10 * 19 * an_epoch
    )


def test_squeezed_costs_its_rungs_as_well_if_none_is_stopped(steady, tiny_data, monkeypatch):
    monkeypatch.setattr("nas.searching.pruners.FIRST_RUNG", 180)
    candidates = [network(width, epochs=19) for width in range(1, 11)]
    expected = expect(candidates, tiny_data, pruner="squeezed")
    assert expected.seconds_most == pytest.approx(10 * expected.seconds_each * (1 + 4 + 19) / 19)


def test_larger_network_that_happens_to_be_faster_makes_no_negative_times(tiny_data, monkeypatch):
    take_times(monkeypatch, 2e-5, 1e-5)
    expected = expect([network(width) for width in (1, 2, 3, 400)], tiny_data)
    assert expected.seconds_each == pytest.approx(10 * 200 * 2e-5)


def test_noise_between_two_networks_of_one_size_is_not_scaled_up(tiny_data, monkeypatch):
    take_times(monkeypatch, 1e-5, 1.1e-5)
    candidates = [network(1), *[network(10)] * 8, network(100)]
    expected = expect(candidates, tiny_data)
    assert expected.seconds_each < 10 * 200 * 1.1e-5 * 10


class SlowToBegin(FakePool):
    """Each epoch takes the next of so many seconds, and then the last again and again."""

    def __init__(self, lengths, num_workers):
        super().__init__(num_workers)
        self.lengths = lengths
        self.most = [0] * num_workers

    def wait(self, timeout_seconds):
        messages = super().wait(timeout_seconds)
        for i, message in enumerate(messages):
            if isinstance(message, EpochDone):
                epoch = message.metrics.epoch
                seconds = self.lengths[min(epoch, len(self.lengths)) - 1]
                messages[i] = replace(message, metrics=replace(message.metrics, seconds=seconds))
                self.most[message.number] = epoch
        return messages


@pytest.mark.parametrize("num_workers", [1, 3])
def test_time_for_an_epoch_is_taken_while_all_workers_train_without_the_first_two(num_workers):
    pool = SlowToBegin([5.0, 3.0, 0.4], num_workers)
    candidate = replace(network(3), recipe=Recipe(batch_size=4, epochs=2))
    assert estimate._seconds_an_epoch(candidate, pool) == pytest.approx(0.4)
    assert pool.most_at_once == len(pool.jobs) == num_workers
    assert pool.num_idle == num_workers  # all are stopped
    assert all(2 + 3 <= most <= 2 + 5 for most in pool.most)  # until a second of each is over
    for job in pool.jobs:
        assert job.architecture == candidate.architecture
        changed = {"epochs": 1000, "learning_rate": 1e-4}  # nothing is learned, nothing diverges
        assert job.recipe == replace(candidate.recipe, **changed)


def test_workers_that_do_not_go_beside_each_other_end_the_forecast(monkeypatch):
    pool = FakePool(2)
    monkeypatch.setattr(pool, "wait", lambda _: [Restarted(0, "the GPU is out of memory")])
    with pytest.raises(SearchError, match=r"2 at a time .* out of memory.* with workers"):
        estimate._seconds_an_epoch(network(3), pool)


def test_candidate_that_cannot_be_trained_ends_the_forecast():
    def score(num_params):
        raise MemoryError("no more")

    with pytest.raises(SearchError, match="could not be trained: MemoryError: no more"):
        estimate._seconds_an_epoch(network(3), FakePool(2, score))


def test_on_a_gpu_what_an_epoch_and_a_candidate_cost_in_any_case_counts_once(
    tiny_data, monkeypatch
):
    """Made-up times: 5 ms an epoch, 0.2 s a candidate, and 10 us an image."""

    def seconds_an_epoch(candidate, pool, num_images=None):
        return 0.005 + 1e-5 * (num_images or len(pool.data.train_index))

    monkeypatch.setattr(estimate, "_seconds_an_epoch", seconds_an_epoch)
    monkeypatch.setattr(estimate, "_seconds_to_get_ready", lambda candidate, pool: 0.2)
    monkeypatch.setattr(estimate, "WorkerPool", lambda data, *_: LocalPool(data))
    pruner = make_pruner("none", 10, 180)
    gpu = torch.device("cuda")
    expected = forecast([network(3)] * 4, tiny_data, torch.float32, 8, 4, pruner, gpu)
    training = 10 * (0.005 + 1e-5 * (180 + 60 / 3))
    assert expected.seconds_each == pytest.approx(training + 0.2)
    assert expected.seconds_most == pytest.approx(2 * (training + 0.2))


def test_what_a_training_takes_beside_its_epochs_is_measured(tiny_data):
    seconds = estimate._seconds_to_get_ready(network(3), FakePool(2))
    assert seconds == pytest.approx(0.1 - 0.01)  # see `FakePool`


@pytest.mark.parametrize(("batch_size", "num_images"), [(4, 80), (512, 180)])
def test_probe_is_of_twenty_batches_or_of_all_images_there_are(
    batch_size, num_images, tiny_data, steady, monkeypatch
):
    seen = []
    monkeypatch.setattr(
        estimate, "WorkerPool", lambda *given: seen.append(given) or LocalPool(*given[:1])
    )
    expect([replace(network(3), recipe=Recipe(batch_size=batch_size))], tiny_data, workers=3)
    ((data, device, precision, num_workers, *_),) = seen
    assert (device, precision, num_workers) == (torch.device("cpu"), torch.float32, 3)
    assert len(data.train_index) == num_images


@pytest.mark.slow
def test_forecast_is_made_by_the_processes_that_search(tiny_data):
    expected = expect([network(3), network(6)], tiny_data, workers=2)
    assert 0 < expected.seconds_each < expected.seconds_likely


# The verb


CHECK = ["check", "--dataset", "digits", "--draws", "40", "--workers", "1"]
TOY = """\"\"\"Of one parameter.\"\"\"
from nas import Architecture, Candidate, Conv, Flatten, GlobalAvgPool, Linear, Recipe
def suggest(trial, task):
    width = trial.suggest_int("width", 1, {widest})
    layers = [Conv(width), GlobalAvgPool(), Flatten(), Linear(task.num_classes)]
    return Candidate(Architecture(task.input_shape, layers), Recipe(epochs=task.epochs))
"""
CHECK_TOY = [*CHECK, "--space", "./toy.py", "--budget", "3k"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_check_says_what_fits_and_how_long_it_takes_and_writes_nothing(folder, steady, capsys):
    assert main([*CHECK, "--budget", "3k", "--trials", "8"]) == 0
    out = capsys.readouterr().out
    assert "space blocks on digits" in out
    assert "of 40 random draws 40 fit (100.0%), 0 are over a limit, 0 cannot exist" in out
    assert "nas.fit" not in out
    for what in ("parameters", "bytes of flash, as int8 C", "bytes of RAM, as int8 C"):
        assert re.search(rf"^{what} +[\d,]+ +[\d,]+ +[\d,]+$", out, re.MULTILINE)
    assert "of these networks 40 are distinct" in out
    assert "one full training of 19 epochs, 1 at a time: about " in out
    assert re.search(r"8 candidates, 1 at a time: about .* with --pruner squeezed", out)
    assert re.search(
        r"^engine: cpu, eager engine, (fp32|bf16), 1 worker of 1 thread; two candidates, trained "
        r"for a second each, reached [\d.]+% of the peak of a wide convolution here$",
        out,
        re.MULTILINE,
    )
    assert list(folder.iterdir()) == []


def test_check_of_a_training_under_a_second_says_so_without_about(
    folder, steady, capsys, monkeypatch
):
    monkeypatch.setattr("nas.searching.estimate._seconds_an_epoch", lambda *_: 0.01)
    (folder / "toy.py").write_text(TOY.format(widest=150))
    assert main([*CHECK_TOY, "--trials", "1", "--epochs", "1"]) == 0
    assert "one full training of 1 epoch, 1 at a time: under 1 s on " in capsys.readouterr().out


def test_check_says_how_many_bytes_networks_have_with_so_many_bits(folder, steady, capsys):
    (folder / "toy.py").write_text(TOY.format(widest=150))
    assert main([*CHECK_TOY, "--bits", "8", "--max-weight-bytes", "3k"]) == 0
    out = capsys.readouterr().out
    largest = re.search(r"^parameters .* ([\d,]+)$", out, re.MULTILINE)[1]
    assert re.search(rf"^bytes of weights, 8 bits each .* {largest}$", out, re.MULTILINE)
    assert "limits nothing" not in out


@pytest.mark.parametrize(
    ("pruner", "about"),
    [("squeezed", "about"), ("none", "about"), ("median", "at most")],
)
def test_check_does_not_claim_to_know_when_a_training_is_stopped_halfway(
    folder, steady, capsys, pruner, about
):
    (folder / "toy.py").write_text(TOY.format(widest=150))
    assert main([*CHECK_TOY, "--pruner", pruner]) == 0
    assert f"50 candidates, 1 at a time: {about} " in capsys.readouterr().out


def test_check_counts_what_is_over_and_the_distinct_networks(folder, steady, capsys):
    (folder / "toy.py").write_text(TOY.format(widest=10))
    code = main([*CHECK, "--space", "./toy.py", "--budget", "106", "--draws", "300"])  # 19w + 10
    assert code == 0
    out = capsys.readouterr().out
    assert re.search(r"of 300 random draws 1[2-8]\d fit \(\d\d\.\d%\), 1\d\d are over a limit", out)
    assert "\nof these networks 5 are distinct\n" in out
    assert "\n5 candidates (the space has no more), 1 at a time: about " in out
    assert re.search(r"^parameters +29 +\d+ +105$", out, re.MULTILINE)
    assert re.search(r"^multiply-accumulates +[\d,]+ +[\d,]+ +[\d,]+$", out, re.MULTILINE)


def test_check_of_a_space_whose_fitting_networks_are_rare_says_so_with_exit_code_1(
    folder, steady, capsys
):
    (folder / "toy.py").write_text(TOY.format(widest=100_000))
    assert main([*CHECK, "--space", "./toy.py", "--budget", "30"]) == 1
    out = capsys.readouterr().out
    assert "of 40 random draws 0 fit (0.0%), 40 are over a limit" in out
    assert "networks that fit exist, but random draws do not find them" in out
    assert steady == []


def test_check_of_a_budget_that_is_too_small_is_refused_with_one_line(folder, steady, capsys):
    (folder / "toy.py").write_text(TOY.format(widest=10))
    assert main([*CHECK, "--space", "./toy.py", "--budget", "29"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"nas: --budget 29 is too small: .* give 30 or more\n", err)
    assert [path.name for path in folder.iterdir()] == ["toy.py"]


def test_check_without_a_budget_is_refused(folder, capsys):
    assert main(CHECK) == 2
    assert "check: --budget is required" in capsys.readouterr().err


def test_check_of_a_candidate_that_cannot_be_trained_still_says_what_the_space_holds(
    folder, monkeypatch, capsys
):
    def score(num_params):
        raise DivergedError(1)

    monkeypatch.setattr(estimate, "WorkerPool", lambda *_: nullcontext(FakePool(1, score)))
    (folder / "toy.py").write_text(TOY.format(widest=150))
    assert main(CHECK_TOY) == 1
    out, err = capsys.readouterr()
    assert "of 40 random draws" in out
    assert err == "nas: a candidate could not be trained: loss or weights not finite in epoch 1\n"


@pytest.mark.slow
@pytest.mark.parametrize(("space", "least"), [("residual", 4), ("separable", 4), ("tied", 4)])
def test_layers_with_weights_are_counted_within_composite_layers_as_well(
    folder, steady, capsys, space, least
):
    """The smallest has a stem, a block of two convolutions, and the layer of scores."""
    options = ["--space", space, "--budget", "3k", "--draws", "200"]
    assert main([*CHECK, *options]) == 0
    fewest = re.search(r"^layers with weights +(\d+)", capsys.readouterr().out, re.MULTILINE)[1]
    assert int(fewest) >= (least if space != "tied" else 3)


def test_check_says_when_it_speaks_of_other_images_than_mnist(folder, steady, capsys, monkeypatch):
    def fetch(source):
        raise published.NotAtHandError("not here")

    monkeypatch.setattr(published.Published, "fetch", fetch)
    assert main(["check", "--draws", "40", "--workers", "1", "--budget", "3k"]) == 0
    assert capsys.readouterr().out.count("searching on the bundled 8x8 digits") == 1
