"""All benchmarks by name: what is measured, and the most that the last side may take, in times of the first."""

from functools import partial

from experiments.bench import comparison, detection, networks, ops, overheads, steps
from experiments.bench.measure import Case

__all__ = ["CASES"]

CASES = [
    Case("mlp", "MLP 784-1024-1024-10, batch 256: gradient", networks.mlp_gradient, 1.05),
    Case("explicit", "the same MLP: jax.grad, and the explicit passes of network(cost)", networks.explicit_passes, 1.1),
    Case("per-example", "MLP 784-1024-1024-10, batch 256: gradient norm of each example",
         networks.per_example_norms, 0.96),
    Case("per-example-all", "the same MLP: norms, gradient, variance and noise scale",
         networks.per_example_statistics, 1.2),
    Case("clipped", "the same MLP: sum of clipped gradients", networks.clipped, 1.2),
    Case("look-inside", "the same MLP: look_inside", networks.looking_inside, 2.5),
    Case("step", "MLP 784-1024-1024-10, batch 256: training step, Adam", overheads.training_step),
    Case("step-overhead", f"MLP 8-8-4, batch 16: {overheads.CALLS} training steps", overheads.step_overhead, 1.5),
    Case("dispatch", f"dense 16 -> 16, not compiled: {overheads.CALLS} calls", overheads.dispatch, 5.0),
    Case("max-pool", "max pool 2x2, 64x32x32x64: backward",
         partial(ops.sides, "max_pool", batch=64, backward=True, height=32, width=32, c=64), 0.2),
    Case("batch-norm", "batch norm, 256x32x32x64: backward",
         partial(ops.sides, "batch_norm", batch=256, backward=True, s=32, c=64), 0.5),
    *(Case(f"attention-{t}", f"causal attention, 8 heads, d = 64, T = {t}: gradient",
           partial(ops.sides, "attention", batch=8, t=t, d=64, v=64)) for t in (512, 1024, 2048, 4096)),
    Case("embedding", "1,024 rows of a 1,000,000 x 64 table: one step",
         partial(ops.embedding_step, rows=1_000_000, d=64, t=1024)),
    Case("lstm", "LSTM, batch 64, 40 steps, 100 -> 100: gradient",
         partial(ops.lstm_beside_torch, batch=64, t=40, i=100, h=100)),
    *(Case(name, f"{what}: Adam step", partial(steps.training_step, name)) for name, what in (
        ("lenet-5", "LeNet-5, batch 64 of 28x28x1"), ("resnet-18", "ResNet-18, batch 32 of 32x32x3"),
        ("mobilenet-v2", "MobileNet v2, batch 32 of 32x32x3"), ("u-net", "U-Net of 32 channels, batch 2 of 96x128x3"))),
    *([Case("yolo-fastest", "YOLO-Fastest 1.1 XL, one frame of 608x352: inference", detection.yolo_fastest, 1.0)]
      if detection.files_are_there() else []),
    Case("comparison-residual", "compare_gradients on 6 residual blocks, beside one gradient, compiled and run",
         partial(comparison.comparison, "residual"), comparison.LIMIT),
    Case("comparison-transformer", "compare_gradients on 2 transformer layers, beside one gradient, compiled and run",
         partial(comparison.comparison, "transformer"), comparison.LIMIT),
    Case("compilation", "50 dense layers: trace and compile", overheads.compilation, 1.1),
]
