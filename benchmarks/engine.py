"""How much faster the training engine is than a notebook's loop, on this machine.

    python benchmarks/engine.py --data-dir DATA [--images 55000] [--pairs 5] [--only 1 5]
    python benchmarks/engine.py --data-dir DATA --whole
    python benchmarks/engine.py --data-dir DATA --ablation [bf16 allocator ...] [--batch-size 512]
    python benchmarks/engine.py --data-dir DATA --device cuda --epochs 19

Arms, one training each, alternated in fresh processes:

    naive     torchvision's MNIST through transforms and a DataLoader, eager float32, loss.item()
    peer      tensors on the device, batched augmentation, eager float32, fused optimiser
    nas-one   the engine as one worker runs it; on a CPU that is one thread
    nas-all   the engine as a search runs it: as many trainings at once as it has workers

The clock runs from the architecture to the final validation accuracy; imports, reading the files
and compiling the loops that all networks share are left out. Networks are drawn from
`recorded_space.py` under 20,000 parameters and spread evenly over the multiply-accumulates. With
--images below 55,000 the epoch is shorter, for all arms alike. --whole trains two of the networks
for 19 epochs of 55,000 images, in one round.

Each training is stored at once in benchmarks/results/, in a file for the device and the precision;
the same command goes on where it was broken off. The tables say how much faster each arm is, and
for each network what nas-one computes in a second: 2 operations for each multiply-accumulate, three
times as many for an image that is trained on (see `nas.metrics.epoch_flops`), over the seconds of
the whole training; beside it the share of what a wide convolution reaches in the same precision
on the same threads (see `nas.training.peak`), measured when the training has ended.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
ARMS = ("naive", "peer", "nas-one", "nas-all")
ABLATIONS = (
    "bf16",
    "channels-last",
    "fused-passes",
    "pooled-stage",  # norm, ReLU and pooling in two steps
    "fused-optimizer",
    "allocator",
    "fused-passes and allocator",  # as for layers that cannot be fused
)
WHOLE = {"images": 55_000, "epochs": 19, "pairs": 1, "only": [1, 5]}  # a small and a middling one
BOOTSTRAPS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--images", type=int, default=55_000, help="training images of an epoch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=5, help="rounds through all arms")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--only", type=int, nargs="+", metavar="INDEX", help="of these networks")
    parser.add_argument("--whole", action="store_true", help="19 epochs of two of the networks")
    parser.add_argument("--precision", default="auto", help="of the engine: auto, fp32 or bf16")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the figures")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--ablation", nargs="*", choices=ABLATIONS, metavar="TECHNIQUE",
                        help="leave out these, one at a time (default: each)")  # fmt: skip
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--network", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.whole:
        vars(options).update(WHOLE)
    options.precision = precision_of(options)
    if options.arm:
        from arms import measure, networks

        architecture = networks(options.networks)[options.network]
        where = (options.data_dir, options.images, options.epochs, options.batch_size,
                 options.device, options.precision)  # fmt: skip
        print(json.dumps(measure(options.arm, architecture, *where)))
    else:
        compare(options)


# The parent: runs arms in turn and compares


def compare(options: argparse.Namespace) -> None:
    """Run every arm on every network in turn, store each training, print the tables."""
    arms, is_ablation = ARMS, options.ablation is not None
    name = f"engine-{options.device}-{options.precision}"
    if is_ablation:
        left_out = options.ablation or ABLATIONS
        arms = ("nas-one", *(f"without {technique}" for technique in left_out))
        name += f"-ablation-{'-'.join(options.ablation)}".replace(" ", "-").rstrip("-")
    if options.whole:
        name += "-whole"
    if options.batch_size != 128:
        name += f"-batch-{options.batch_size}"
    path = options.out / f"{name}.json"
    facts = facts_of(options, path)
    done = {key(run) for run in facts["runs"]}
    for pair in range(options.pairs):
        for network in options.only or range(options.networks):
            for arm in arms if (pair + network) % 2 == 0 else arms[::-1]:
                run = {"pair": pair, "network": network, "arm": arm,
                       "images": options.images, "epochs": options.epochs}  # fmt: skip
                if key(run) in done:
                    continue
                facts["runs"].append(run | run_arm(arm, network, options))
                # At once: an interrupted benchmark keeps what it has.
                path.parent.mkdir(exist_ok=True)
                path.write_text(json.dumps(facts, indent=1) + "\n")
                print(f"# {facts['runs'][-1]}", file=sys.stderr, flush=True)
    asked = (options.images, options.epochs)
    runs = [run for run in facts["runs"] if (run["images"], run["epochs"]) == asked]
    print_ratios(runs, arms, is_ablation)
    print_speeds(runs, facts["networks"])


def key(run: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(run[name] for name in ("pair", "network", "arm", "images", "epochs"))


def print_ratios(runs: list[dict[str, Any]], arms: tuple[str, ...], is_ablation: bool) -> None:
    baseline = "nas-one" if is_ablation else "naive"
    what = "slower than nas-one by" if is_ablation else "faster than naive by"
    print(f"| arm | trainings an hour | {what} | 95 % interval |")
    print("| --- | --- | --- | --- |")
    for arm in arms:
        pair = (arm, baseline) if is_ablation else (baseline, arm)
        ratio, low, high = ratios(runs, *pair)
        hourly = statistics.median(3600 / run["seconds"] for run in runs if run["arm"] == arm)
        print(f"| {arm} | {hourly:.3g} | {ratio:.2f}x | {low:.2f} to {high:.2f} |")
    outside = [run["share_outside"] for run in runs if "share_outside" in run]
    if outside and not is_ablation:
        print(f"outside forward, backward and optimiser: {100 * statistics.median(outside):.1f} %")


def print_speeds(runs: list[dict[str, Any]], networks: list[dict[str, Any]]) -> None:
    """What nas-one computes in a second, by network; medians over the rounds."""
    measured = [run for run in runs if run["arm"] == "nas-one" and "gflops" in run]
    if not measured:  # the figures of earlier versions have none
        return
    print("\n| network | parameters | MACs | seconds | GFLOP/s | of a wide convolution's |")
    print("| --- | --- | --- | --- | --- | --- |")
    for index in sorted({run["network"] for run in measured}):
        mine = [run for run in measured if run["network"] == index]
        seconds, gflops = (
            statistics.median(r[name] for r in mine) for name in ("seconds", "gflops")
        )
        shares = [run["gflops"] / run["peak_gflops"] for run in mine if "peak_gflops" in run]
        share = f"{statistics.median(shares):.0%}" if shares else "-"
        network = networks[index]
        print(
            f"| {index} | {network['num_params']:,} | {network['num_macs']:,} | {seconds:.1f} | "
            f"{gflops:.1f} | {share} |"
        )


def run_arm(arm: str, network: int, options: argparse.Namespace) -> dict[str, Any]:
    """One training in a fresh process."""
    command = [sys.executable, __file__, "--data-dir", str(options.data_dir)]
    command += ["--images", str(options.images), "--networks", str(options.networks)]
    command += ["--epochs", str(options.epochs), "--batch-size", str(options.batch_size)]
    command += ["--device", options.device, "--precision", options.precision]
    command += ["--arm", arm, "--network", str(network)]
    environment = dict(os.environ)
    if arm.startswith(("nas", "without")) and "allocator" not in arm:
        from nas.training.processes import ALLOCATOR

        environment |= ALLOCATOR  # as a worker is started
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} failed:\n{done.stderr}")
    figure: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figure


def ratios(runs: list[dict[str, Any]], slow: str, fast: str) -> tuple[float, float, float]:
    """Geometric mean over networks of the median pair ratio, with a bootstrap interval."""
    seconds = {(r["pair"], r["network"], r["arm"]): r["seconds"] for r in runs}
    by_network: dict[int, list[float]] = {}
    for pair, network, arm in seconds:
        if arm == fast:
            ratio = seconds[pair, network, slow] / seconds[pair, network, fast]
            by_network.setdefault(network, []).append(ratio)

    def mean(groups: list[list[float]]) -> float:
        return math.exp(statistics.mean(math.log(statistics.median(g)) for g in groups))

    rng = random.Random(0)
    samples = []
    for _ in range(BOOTSTRAPS):
        networks = rng.choices(list(by_network.values()), k=len(by_network))
        samples.append(mean([rng.choices(group, k=len(group)) for group in networks]))
    samples.sort()
    low, high = samples[int(0.025 * BOOTSTRAPS)], samples[int(0.975 * BOOTSTRAPS)]
    return mean(list(by_network.values())), low, high


def precision_of(options: argparse.Namespace) -> str:
    """The name of the number format that the engine trains in."""
    import torch

    from nas.training import choose_precision
    from nas.training.device import PRECISIONS

    chosen = choose_precision(options.precision, torch.device(options.device))
    return next(name for name, dtype in PRECISIONS.items() if dtype == chosen)


def facts_of(options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """What the file of figures holds; with no trainings where there is none yet."""
    import torch
    from arms import networks

    facts: dict[str, Any] = {
        "machine": machine(options.device),
        "torch": torch.__version__,
        "precision": options.precision,
        "batch_size": options.batch_size,
        "networks": [
            {"num_params": a.num_params, "num_macs": a.num_macs, "fingerprint": a.fingerprint}
            for a in networks(options.networks)
        ],
        "runs": [],
    }
    if not path.exists():
        return facts
    stored: dict[str, Any] = json.loads(path.read_text())
    others = [name for name in facts if name != "runs" and facts[name] != stored[name]]
    if others:
        raise SystemExit(f"{path} is of another {' and '.join(others)}: give another --out")
    return stored


def machine(device: str) -> str:
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name(device)
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(": ")[1] for x in lines if x.startswith("model name")), model)
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {platform.system()}"


if __name__ == "__main__":
    main()
