"""The device that is asked for, or an error that says what there is."""

import os
import warnings

import pytest
import torch

from nas.candidates.recipe import Recipe
from nas.errors import NasError
from nas.training import choose_device, choose_precision, train
from nas.training import device as device_module
from nas.training.device import (
    choose_engine,
    default_workers,
    device_name,
    device_notes,
    has_fast_bf16,
)

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]  # of torch for CUDA 13


@pytest.fixture
def card(monkeypatch):
    """Pretends that there are CUDA GPUs."""

    def put(*capabilities, names=WHEEL, free=80 * 2**30):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda i: capabilities[index_of(i)]
        )
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(names))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: f"Card {index_of(i)}")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (free, 80 * 2**30))
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)

    def index_of(device):
        return device if isinstance(device, int) else device.index or 0

    return put


def test_auto_is_a_device_that_computes():
    assert torch.ones(2, device=choose_device("auto")).sum().item() == 2


def test_auto_is_the_cpu_where_there_is_nothing_else(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")


def test_auto_prefers_cuda(card):
    card((9, 0), (9, 0))
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert device_notes("auto", "auto") == []
    with pytest.raises(NasError, match=r"choose auto or cuda, cuda:0, cuda:1, cpu$"):
        choose_device("cuda:2")


def test_auto_passes_over_a_card_that_the_wheel_has_no_code_for_and_says_so(card):
    card((6, 1))
    assert choose_device("auto") == torch.device("cpu")
    (note,) = device_notes("auto", "auto")
    assert note.startswith(
        "training on the CPU: Card 0 has compute capability 6.1, and torch "
        f"{torch.__version__} holds code for sm_75, sm_80"
    )
    assert device_notes("cpu", "auto") == []


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0"])
def test_a_card_that_cannot_be_used_is_refused_with_the_reason(card, wanted):
    card((7, 0))
    with pytest.raises(
        NasError, match=r"cannot be used: Card 0 has .* 7\.0, .*choose auto or cpu$"
    ):
        choose_device(wanted)


def test_auto_takes_the_card_that_can_be_used(card):
    card((6, 1), (8, 6))
    assert choose_device("auto") == torch.device("cuda:1")
    assert device_notes("auto", "auto") == []


@pytest.mark.parametrize(
    ("name", "capability", "answer"),
    [
        ("sm_86", (8, 9), True), ("sm_86", (8, 0), False), ("sm_80", (9, 0), False),
        ("sm_90a", (9, 0), True), ("sm_100f", (10, 3), True), ("sm_100f", (12, 0), False),
        ("sm_120", (12, 1), True), ("compute_90", (12, 0), True), ("compute_90", (8, 9), False),
        ("compute_90a", (9, 1), False), ("gfx90a", (9, 0), False),
    ],
)  # fmt: skip
def test_code_runs_on_its_own_kind_of_card_and_later_ones_of_it(card, name, capability, answer):
    card(capability, names=[name])
    assert (choose_device("auto").type == "cuda") is answer


def test_what_torch_says_of_an_old_driver_is_handed_on(monkeypatch):
    def is_available():
        text = "CUDA initialization: The NVIDIA driver is too\nold (found 11040)."
        warnings.warn(text, stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    device_module._complaint.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (note,) = device_notes("auto", "auto")
        said = "CUDA initialization: The NVIDIA driver is too old (found 11040)."
        assert note == f"training on the CPU: {said}"
        with pytest.raises(NasError, match=r"cannot be used: CUDA .* choose auto or cpu"):
            choose_device("cuda")
    device_module._complaint.cache_clear()


def test_engine_is_graphs_on_cuda_alone(card, monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [choose_engine("auto", device) for device in (cpu, gpu)] == ["eager", "graph"]
    assert choose_engine("eager", gpu) == "eager"
    assert choose_engine("graph", gpu) == "graph"
    with pytest.raises(NasError, match="engine='graph' needs a CUDA GPU, and the device is cpu"):
        choose_engine("graph", cpu)
    with pytest.raises(NasError, match="'fast' is unknown: choose auto, graph, eager"):
        choose_engine("fast", gpu)
    card((9, 0))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert choose_engine("auto", gpu) == "eager"
    assert device_notes("auto", "auto") == [
        "steps are not captured as graphs: on ROCm engine='graph' is untried"
    ]


@pytest.mark.parametrize(
    ("gib", "engine", "workers"),
    [(80, "graph", 4), (80, "eager", 2), (3.5, "graph", 2), (2, "graph", 1), (0.3, "eager", 1)],
)
def test_workers_on_cuda_are_as_many_as_fit_into_the_free_memory(card, gib, engine, workers):
    card((9, 0), free=int(gib * 2**30))
    assert default_workers(torch.device("cuda"), engine) == workers


def test_default_is_one_worker_for_each_core_on_a_cpu():
    assert default_workers(torch.device("cpu")) == len(os.sched_getaffinity(0))
    assert default_workers(torch.device("mps")) == 1


def test_bf16_is_refused_where_a_card_would_emulate_it(card):
    card((7, 5))
    gpu = torch.device("cuda")
    with pytest.raises(NasError, match=r"precision='bf16' needs a GPU of compute capability 8\.0"):
        choose_precision("bf16", gpu)
    assert choose_precision("auto", gpu) == torch.float32


def test_cpu_is_always_there():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("wanted", ["cuda:99", "gpu", "", "CPU", "cpu:0:1", "auto "])
def test_device_that_is_not_here_is_an_error_that_names_what_is(wanted):
    with pytest.raises(NasError, match=r"is not here: choose auto or .*cpu$") as error:
        choose_device(wanted)
    assert repr(wanted) in str(error.value)


def test_name_of_a_device_says_the_engine_and_the_precision():
    cpu = torch.device("cpu")
    assert device_name(cpu, torch.float32, "eager") == "cpu, eager engine, fp32"
    assert device_name(cpu, torch.bfloat16, "graph") == "cpu, graph engine, bf16"


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
    assert device_name(data.images.device, torch.float32, "graph").startswith("cuda (")
