"""Published: small networks for MNIST that others have made, as their sources tell of them."""

from __future__ import annotations

from dataclasses import dataclass

from nas.reports.references import REFERENCES


@dataclass(frozen=True)
class Published:
    """A network with its best figure on the test images: nearly all chose an epoch by these."""

    num_params: int
    accuracy: float  # 0..1
    source: str


PUBLISHED = (
    Published(697, 0.9903, "JoshWarn/Parameter-Efficient-MNIST: best of about 700 trainings"),
    Published(1_936, 0.9910, "ruslangrimov/mnist-minimal-model: chosen on validation images"),
    Published(2_180, 0.9917, "ruslangrimov/mnist-minimal-model: 71 epochs"),
    Published(3_003, 0.9916, "Gural and Murmann, ICML 2019: 350 epochs, 4 bits a weight"),
    Published(3_197, 0.9925, "ruslangrimov/mnist-minimal-model: 63 epochs"),
    Published(6_174, 0.9948, "firekind/ERA4: best of 15 epochs"),
    Published(6_188, 0.9954, "nagalakshmi-nimmagadda/MNIST-CNN-COLAB: best of 15 epochs"),
    Published(7_918, 0.9952, "snehanshu-raj/ERA: best of 15 epochs"),
    Published(9_074, 0.9941, "divya-r-kamat/EfficientMnist-Under20K: 20 epochs"),
    Published(13_562, 0.9953, "divya-r-kamat/EfficientMnist-Under20K: 20 epochs"),
    Published(15_794, 0.9959, "divya-r-kamat/EfficientMnist-Under20K: 20 epochs"),
    *(Published(r.num_params, r.published, f"`references`: {r.name}") for r in REFERENCES),
)
