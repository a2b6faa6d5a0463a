"""Bytes of the compiled C kernels, as benchmarks/code_sizes.py found them."""

COMPILER = "arm-none-eabi-gcc (15:12.2.rel1-1) 12.2.1 20221205"
FLAGS = "-std=c99 -Os -mcpu=cortex-m0plus -mthumb"

BASE = 44  # nas_scores and nas_predict without a layer
COLOUR = 32  # on top where a pixel has several channels
# Of each kernel: its code, what that grows by where it is called more than once, a call, its stack.
KERNELS = {
    "conv": (229, 199, 23, 184),
    "depthwise": (195, 300, 17, 192),
    "affine": (56, 35, 18, 88),
    "add": (29, 59, 2, 76),
    "relu": (21, 53, 9, 36),
    "max_pool": (175, 30, 0, 96),
    "avg_pool": (157, 103, 0, 88),
    "flatten": (59, 0, 0, 24),
}
SCORES_STACK = 120  # of nas_predict and nas_scores, which calls the kernels
