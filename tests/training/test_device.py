"""The device that is asked for, or an error that says what there is."""

import pytest
import torch

from nas.candidates.recipe import Recipe
from nas.errors import NasError
from nas.training import choose_device, choose_precision, train
from nas.training.device import device_name, has_fast_bf16


def test_auto_is_a_device_that_computes():
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


def test_auto_prefers_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(NasError, match=r"choose auto or cuda, cuda:0, cuda:1, (mps, )?cpu$"):
        choose_device("cuda:2")


def test_cpu_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("wanted", ["cuda:99", "gpu", "", "CPU", "cpu:0:1", "auto "])
def test_device_that_is_not_here_is_an_error_that_names_what_is(wanted):
    with pytest.raises(NasError, match=r"is not here: choose auto or .*cpu$") as error:
        choose_device(wanted)
    assert repr(wanted) in str(error.value)


def test_name_of_a_device_says_the_precision():
    assert device_name(torch.device("cpu"), torch.float32) == "cpu, fp32"
    assert device_name(torch.device("cpu"), torch.bfloat16) == "cpu, bf16"


def test_precision_is_chosen_by_name_or_by_what_is_fast(monkeypatch):
    cpu = torch.device("cpu")
    assert choose_precision("fp32", cpu) == torch.float32
    assert choose_precision("bf16", cpu) == torch.bfloat16
    for answer, precision in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda answer=answer: answer)
        assert choose_precision("auto", cpu) == precision


def test_unknown_precision_is_refused_with_what_there_is():
    with pytest.raises(NasError, match="'fp16' is unknown: choose auto, fp32, bf16"):
        choose_precision("fp16", torch.device("cpu"))


@pytest.mark.parametrize(
    ("capability", "answer"), [((7, 5), False), ((8, 0), True), ((9, 0), True)]
)
def test_bf16_is_fast_on_cuda_from_capability_8_0_on(monkeypatch, capability, answer):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert has_fast_bf16(torch.device("cuda")) is answer


@pytest.mark.parametrize("answer", [True, False])
def test_bf16_is_fast_on_a_cpu_with_the_instructions_for_it(monkeypatch, answer):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: answer)
    assert has_fast_bf16(torch.device("cpu")) is answer
    assert has_fast_bf16(torch.device("meta")) is False


@pytest.mark.gpu
def test_training_on_cuda_learns_and_gives_weights_on_the_cpu(tiny_data, tiny_architecture):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    data = tiny_data.to(choose_device("cuda"))
    result = train(
        tiny_architecture,
        Recipe(epochs=8, batch_size=16, learning_rate=0.05, augmentation=0.5),
        data,
        seed=0,
    )
    assert result.history[-1].valid_accuracy > 0.7
    assert {value.device.type for value in result.state_dict.values()} == {"cpu"}
    assert device_name(data.images.device, torch.float32).startswith("cuda (")
