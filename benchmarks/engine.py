"""How much faster the training engine is than a notebook's loop, on this machine.

    python benchmarks/engine.py --data-dir DATA [--images 55000] [--pairs 5] [--networks 8]
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
--images below 55,000 the epoch is shorter, for all arms alike. The table is printed, and everything
is stored in benchmarks/results/.
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

RESULTS = Path(__file__).parent / "results"
ARMS = ("naive", "peer", "nas-one", "nas-all")
ABLATIONS = (
    "bf16",
    "channels-last",
    "fused-passes",
    "fused-optimizer",
    "allocator",
    "fused-passes and allocator",  # as for layers that cannot be fused
)
BOOTSTRAPS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with MNIST/raw")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--images", type=int, default=55_000, help="training images of an epoch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=5, help="rounds through all arms")
    parser.add_argument("--networks", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--ablation", nargs="*", choices=ABLATIONS, metavar="TECHNIQUE",
                        help="leave out these, one at a time (default: each)")  # fmt: skip
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--network", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        from arms import measure, networks

        architecture = networks(options.networks)[options.network]
        where = (options.data_dir, options.images, options.epochs, options.batch_size,
                 options.device)  # fmt: skip
        print(json.dumps(measure(options.arm, architecture, *where)))
    else:
        compare(options)


# The parent: runs arms in turn and compares


def compare(options: argparse.Namespace) -> None:
    """Run every arm on every network in turn, print the table, store the figures."""
    arms, name, is_ablation = ARMS, f"engine-{options.device}", options.ablation is not None
    if is_ablation:
        left_out = options.ablation or ABLATIONS
        arms = ("nas-one", *(f"without {technique}" for technique in left_out))
        name += f"-ablation-{'-'.join(options.ablation)}".replace(" ", "-").rstrip("-")
    if options.batch_size != 128:
        name += f"-batch-{options.batch_size}"
    runs: list[dict[str, object]] = []
    for pair in range(options.pairs):
        for network in range(options.networks):
            order = arms if (pair + network) % 2 == 0 else arms[::-1]
            for arm in order:
                figure = run_arm(arm, network, options)
                runs.append({"pair": pair, "network": network, "arm": arm} | figure)
                print(f"# {len(runs)}: {arm}, network {network}: {figure}", file=sys.stderr)
        # After each round: an interrupted benchmark keeps its rounds.
        store(f"{name}.json", options, runs)
    baseline = "nas-one" if is_ablation else "naive"
    what = "slower than nas-one by" if is_ablation else "faster than naive by"
    print(f"| arm | trainings an hour | {what} | 95 % interval |")
    print("| --- | --- | --- | --- |")
    for arm in arms:
        pair = (arm, baseline) if is_ablation else (baseline, arm)
        ratio, low, high = ratios(runs, *pair)
        hourly = statistics.median(3600 / float(str(r["seconds"])) for r in runs if r["arm"] == arm)
        print(f"| {arm} | {hourly:.0f} | {ratio:.2f}x | {low:.2f} to {high:.2f} |")
    outside = [float(str(r["share_outside"])) for r in runs if "share_outside" in r]
    if outside and not is_ablation:
        print(f"outside forward, backward and optimiser: {100 * statistics.median(outside):.1f} %")


def run_arm(arm: str, network: int, options: argparse.Namespace) -> dict[str, float]:
    """One training in a fresh process."""
    command = [sys.executable, __file__, "--data-dir", str(options.data_dir)]
    command += ["--images", str(options.images), "--networks", str(options.networks)]
    command += ["--epochs", str(options.epochs), "--batch-size", str(options.batch_size)]
    command += ["--device", options.device]
    command += ["--arm", arm, "--network", str(network)]
    environment = dict(os.environ)
    if arm.startswith(("nas", "without")) and "allocator" not in arm:
        from nas.training.processes import ALLOCATOR

        environment |= ALLOCATOR  # as a worker is started
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{arm} failed:\n{done.stderr}")
    figure: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figure


def ratios(runs: list[dict[str, object]], slow: str, fast: str) -> tuple[float, float, float]:
    """Geometric mean over networks of the median pair ratio, with a bootstrap interval."""
    seconds = {(r["pair"], r["network"], r["arm"]): float(str(r["seconds"])) for r in runs}
    by_network: dict[object, list[float]] = {}
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


def store(name: str, options: argparse.Namespace, runs: list[dict[str, object]]) -> None:
    import torch
    from arms import networks

    RESULTS.mkdir(exist_ok=True)
    facts = {
        "machine": machine(options.device),
        "torch": torch.__version__,
        "images": options.images,
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "networks": [
            {"num_params": a.num_params, "num_macs": a.num_macs, "fingerprint": a.fingerprint}
            for a in networks(options.networks)
        ],
        "runs": runs,
    }
    (RESULTS / name).write_text(json.dumps(facts, indent=1) + "\n")


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
