"""All benchmarks by name: what is measured, and the most that the last side may take, in times of the first."""

from functools import partial

from experiments.bench import (
    attention,
    comparison,
    detection,
    losses,
    networks,
    ops,
    overheads,
    recurrent,
    steps,
    tables,
    words,
)
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
    *(Case(f"attention-{t}", f"causal attention, 8 heads of 64, T = {t}: gradient", partial(attention.gradient, t),
           limit)
      for t, limit in ((512, 1.0), (1024, 1.0), (2048, 0.4), (4096, 0.4))),
    Case("attention-8192", "causal attention, 8 heads of 64, T = 8192 beside 4096: gradient",
         partial(attention.gradient, 8192), memory=2.1),
    Case("decoding", "one token with a cache of keys and values, 8 heads of 64, 100 places filled",
         attention.decoding, 1.2),
    Case("many-classes", "dense layer and softmax cross-entropy, 1,024 rows, 512 -> 32,000: gradient",
         losses.many_classes, 0.85, memory=0.2),
    Case("ctc", "CTC, batch 32 of 200 steps, 30 classes, 30 labels: gradient", losses.alignment),
    Case("embedding", "1,024 rows of a 1,000,000 x 64 table: one step",
         partial(ops.embedding_step, rows=1_000_000, d=64, t=1024)),
    *(Case(f"skip-gram-{name}", f"skip-gram step, {name}, 1,024 words and 6 beside each, of 64 numbers",
           partial(tables.skip_gram_step, name), 1.2) for name in tables.OPTIMIZERS),
    Case("word-rows", "skip-gram, 4,096 words of 50,000 with their windows, of 100 numbers: a step", words.beside_rows),
    *([Case("word2vec", "skip-gram, 200,000 words of 20,000, of 100 numbers: an epoch", words.beside_gensim, 3.3)]
      if words.gensim_is_there() else []),
    *(Case(f"{name}-{shape}", f"{name.upper()}, batch x time x input x hidden {shape}: gradient",
           partial(recurrent.gradient, name, shape), 0.9, {"Flax": 0.9, "bare products": 1.2})
      for name in ("lstm", "gru") for shape in recurrent.SHAPES),
    *(Case(name, f"{what}: Adam step", partial(steps.training_step, name), is_step=True) for name, what in (
        ("lenet-5", "LeNet-5, batch 64 of 28x28x1"), ("resnet-18", "ResNet-18, batch 32 of 32x32x3"),
        ("mobilenet-v2", "MobileNet v2, batch 32 of 32x32x3"), ("u-net", "U-Net of 32 channels, batch 2 of 96x128x3"))),
    Case("character-lstm", "character LSTM, batch 64 of 40, embedding 64, hidden 256, 86 classes: Adam step",
         partial(steps.text_step, "character-lstm"), None, {"Flax NNX": 0.9, "PyTorch": 1.1}, is_step=True),
    Case("transformer", "transformer, batch 8 of 256, width 128, 4 heads, 4 blocks, 86 classes: Adam step",
         partial(steps.text_step, "transformer"), None, {"PyTorch": 0.9}, is_step=True),
    *([Case("yolo-fastest", "YOLO-Fastest 1.1 XL, one frame of 608x352: inference", detection.yolo_fastest, 1.0)]
      if detection.files_are_there() else []),
    Case("comparison-residual", "compare_gradients on 6 residual blocks, beside one gradient, compiled and run",
         partial(comparison.comparison, "residual"), comparison.LIMIT),
    Case("comparison-transformer", "compare_gradients on 2 transformer layers, beside one gradient, compiled and run",
         partial(comparison.comparison, "transformer"), comparison.LIMIT),
    Case("compilation", "50 dense layers: trace and compile", overheads.compilation, 1.1),
    *(Case(f"compilation-{name}", f"{what}, batch 8 of 64x64x3: trace and compile the gradient",
           partial(overheads.network_compilation, name)) for name, what in (
        ("resnet50", "ResNet-50"), ("mobilenet_v2", "MobileNet v2"), ("densenet121", "DenseNet-121"))),
]
