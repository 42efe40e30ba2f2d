"""Training: one pure jit-compiled step, whatever it trains, and a loop that loses no work."""

from jaxnn.training.averages import average, with_average
from jaxnn.training.checkpoint import BadCheckpoint, load, save
from jaxnn.training.distributed import ProcessLost, connect
from jaxnn.training.fit import fit
from jaxnn.training.freezing import freeze
from jaxnn.training.history import Diverged, Failed, History, NotApplied, NotSaved, SaveFailed
from jaxnn.training.inference import evaluate
from jaxnn.training.log import read_lines
from jaxnn.training.make_step import make_step
from jaxnn.training.mesh import make_mesh, shard
from jaxnn.training.position import Best
from jaxnn.training.precision import loss_scaled
from jaxnn.training.rows import by_rows, row_adagrad, row_adam, row_sgd
from jaxnn.training.step import Step, StepInfo
from jaxnn.training.stopping import Interrupted
from jaxnn.training.tracing import Retraced
from jaxnn.training.train_state import TrainState, start, start_from
from jaxnn.training.trials import dry_run, learning_rate_range, overfit_one_batch
