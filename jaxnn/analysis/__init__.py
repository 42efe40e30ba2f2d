"""What to do next with a trained network: its errors by kind, their causes, its splits, and the choice among models.

`error_table` and `confused_pairs` say which examples are wrong, `diagnose` where the error comes from, `find_leaks`
and `split_groups` whether the figures mean what they seem to, `choose` which model is best under limits,
`fit_power_law` what more data would bring, `calibration` whether probabilities are what they say, `suspects` which
labels may be wrong, and `cosines` and `conflicts` whether two gradients agree.
"""

from jaxnn.analysis.calibration import Calibration, CalibrationBin, calibration, fit_temperature
from jaxnn.analysis.choice import Choice, Latency, choose, latency, pareto
from jaxnn.analysis.error_tables import (
    Ceiling,
    ConfusedPair,
    ErrorTable,
    TagRow,
    confused_pairs,
    error_table,
    tag_columns,
)
from jaxnn.analysis.gradients import Agreement, conflicts, cosine, cosines, pulls
from jaxnn.analysis.groups import split_groups
from jaxnn.analysis.leaks import Leak, Leaks, find_leaks
from jaxnn.analysis.learning_curves import PowerLaw, fit_power_law
from jaxnn.analysis.single_number import PrecisionRecall, precision_recall, single_number
from jaxnn.analysis.suspects import Scores, Suspects, scores_in_training, suspects
from jaxnn.analysis.verdict import Verdict, diagnose
