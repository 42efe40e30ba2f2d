"""Training: one pure jit-compiled step, whatever it trains."""

from jaxnn.training.step import TrainState, evaluate, make_step, start
