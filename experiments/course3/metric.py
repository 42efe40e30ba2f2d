"""Which network is best, when each must also answer in time?

    python -m experiments run metric --limits 0.03 0.1

The error is to be as small as possible (the optimising metric), and the time for one picture only has to be within a
limit (the satisficing metric). Nine networks, linear to convolutional, are trained and timed in this run. For each
limit the best of those in time is chosen by the dev set, and measured on the test set. The Pareto front has the
networks of which no other is both better and faster: the only ones that any limit can choose.

A single number out of several is needed too where one error per class is looked at: the mean, the worst class and the
harmonic mean of precision and recall may each choose another network.

Result of seed 0 on USPS, 65 s of processor time: within 0.05 ms the network of 8 channels is chosen, dev error 2.88 %,
test error 5.68 %; its lead over three others is no more than chance on these 729 dev pictures. From 0.1 ms on it is
that of 16 channels, 1.37 % and 4.53 %. The front has six of nine networks.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.course3 import digits as data
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, progress, say, series, table
from jaxnn import Dense, Flatten, Sequential, relu
from jaxnn.analysis import choose, intervals, latency, pareto, precision_recall, single_number

NUMBERS = ("dev error", "1 - F1, mean", "1 - F1, worst class", "1 - harmonic mean")


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "the pictures: " + data.WHY, choices=data.CHOICES)
    seed: int = random_seed(0, "seed of the split, the weights and the batches")
    hidden: tuple[int, ...] = knob((8, 32, 128, 512), "numbers of units of the networks with one hidden layer",
                                   at_least=1)
    channels: tuple[int, ...] = knob((2, 4, 8, 16), "channels of the first convolution that are compared; the second "
                                     "has twice as many", at_least=1)
    limits: tuple[float, ...] = knob((0.03, 0.05, 0.1), "times that a network may take for one picture, in "
                                     "milliseconds", above=0)
    epochs: int = count(5, "epochs of each network; by the last, the order of the networks is settled")
    repeats: int = knob(200, "number of times that each network is timed", at_least=6)
    batch_size: int = count(64, "pictures in a batch, as many as where LeNet-5 is benchmarked")
    learning_rate: float = positive(0.002, "Adam's first learning rate, which falls to zero as a cosine")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    digits = data.load(knobs.data, data_dir, knobs.seed)
    size = digits.train_x.shape[1]
    networks = {"linear": Sequential(Flatten(), Dense(data.N_CLASSES))}
    networks |= {f"dense {n}": Sequential(Flatten(), Dense(n), relu, Dense(data.N_CLASSES)) for n in knobs.hidden}
    networks |= {f"conv {c}": data.convnet(size, (c, 2 * c)) for c in knobs.channels}
    models: dict[str, dict[str, Any]] = {}
    dev_wrong, test_wrong, costs, callers = {}, {}, {}, {}
    for name, model in progress(list(networks.items()), "network"):
        params, state, costs[name] = data.train(model, digits.train_x, digits.train_y, epochs=knobs.epochs,
                                                batch_size=knobs.batch_size, learning_rate=knobs.learning_rate,
                                                seed=knobs.seed)
        z = data.logits(model, params, state, digits.dev_x)
        dev_wrong[name] = z.argmax(-1) != digits.dev_y
        test_wrong[name] = data.logits(model, params, state, digits.test_x).argmax(-1) != digits.test_y
        models[name] = {"params": sum(leaf.size for leaf in jax.tree.leaves(params)),
                        **numbers(z.argmax(-1), digits.dev_y)}
        callers[name] = answer(model, params, state)
    for name, call in callers.items():  # one after another, so that all are timed under the same load
        found = latency(call, digits.test_x[0], repeats=knobs.repeats)
        models[name] |= {"milliseconds": 1e3 * found.seconds, "p95": 1e3 * found.p95,
                         "interval": [1e3 * v for v in found.interval]}
    front = pareto(models, ("milliseconds", "dev error"))
    rows = [(name, f"{m['params']:,}", f"{m['milliseconds']:.4f} ({m['interval'][0]:.4f} to {m['interval'][1]:.4f})",
             shown(dev_wrong[name]), shown(test_wrong[name]), "front" if name in front else "")
            for name, m in models.items()]
    say(table(("network", "params", "ms for one picture", "dev error", "test error", ""), rows))
    choices = [chosen(limit, models, dev_wrong, test_wrong) for limit in knobs.limits]
    by_number = {number: min(models, key=lambda m: models[m][number]) for number in NUMBERS}
    say("without a limit, chosen by " + ", ".join(f"{number}: {name}" for number, name in by_number.items()))
    draw(out, digits, models, dev_wrong, front, choices)
    return {"data": digits.name, "networks": {name: m | {"test_error": float(test_wrong[name].mean())}
                                              for name, m in models.items()},
            "front": list(front), "choices": choices, "by_number": by_number,
            "costs": {name: series(c, "step") for name, c in costs.items()}}


def answer(model: Any, params: Any, state: Any) -> Any:
    return jax.jit(lambda x: model(params, state, x)[0].argmax())


def numbers(predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The error, and other single numbers, the less the better."""
    scores = precision_recall(predictions, labels)
    f1 = {str(c): s.f1 for c, s in scores.items()}
    both = {f"{c} {kind}": float(np.nan_to_num(getattr(s, kind))) for c, s in scores.items()
            for kind in ("precision", "recall")}
    return {"dev error": float((predictions != labels).mean()), "1 - F1, mean": 1 - single_number(f1),
            "1 - F1, worst class": 1 - single_number(f1, "worst"),
            "1 - harmonic mean": 1 - single_number(both, "harmonic")}


def shown(wrong: np.ndarray) -> str:
    return intervals.shown(float(wrong.mean()), intervals.of_fraction(int(wrong.sum()), len(wrong)))


def chosen(limit: float, models: dict[str, dict[str, Any]], dev_wrong: dict[str, np.ndarray],
           test_wrong: dict[str, np.ndarray]) -> dict[str, Any]:
    """The best within the limit, and which others may be as good: the interval of the difference on dev holds 0."""
    choice = choose(models, "dev error", {"milliseconds": limit})
    record: dict[str, Any] = {"limit": limit, "name": choice.name, "nearest": choice.nearest, "refused": choice.refused}
    if choice.name is None:
        say(f"within {limit:g} ms: {choice.name or 'none'}; the nearest is {choice.nearest}")
        return record
    alike = [name for name in choice.feasible[1:]
             if intervals.of_paired_difference(dev_wrong[name], dev_wrong[choice.name])[0] <= 0]
    say(f"within {limit:g} ms: {choice.name}, dev error {percent(models[choice.name]['dev error'])}, test error "
        f"{percent(float(test_wrong[choice.name].mean()))}"
        + (f"; on these dev pictures not told from {', '.join(alike)}" if alike else ""))
    return record | {"dev_error": models[choice.name]["dev error"],
                     "test_error": float(test_wrong[choice.name].mean()), "not_told_from": alike}


def draw(out: Path, digits: data.Digits, models: dict[str, dict[str, Any]], dev_wrong: dict[str, np.ndarray],
         front: tuple[str, ...], choices: list[dict[str, Any]]) -> None:
    figure, ((axes,),) = figures.panels(1, 1, (7.4, 4.8), f"{digits.name}: error and time of each network, with 95 %")
    for name, m in models.items():
        low, high = intervals.of_fraction(int(dev_wrong[name].sum()), len(dev_wrong[name]))
        error = m["dev error"]
        colour = "tab:blue" if name in front else "tab:grey"
        axes.errorbar(m["milliseconds"], 100 * error, yerr=[[100 * (error - low)], [100 * (high - error)]],
                      xerr=[[m["milliseconds"] - m["interval"][0]], [m["interval"][1] - m["milliseconds"]]],
                      marker="o", color=colour, capsize=2, linewidth=1)
        axes.annotate(name, (m["milliseconds"], 100 * error), xytext=(5, 4), textcoords="offset points", fontsize=8,
                      color=colour)
    steps = sorted((models[name]["milliseconds"], 100 * models[name]["dev error"]) for name in front)
    axes.step(*zip(*steps, strict=True), where="post", color="tab:blue", alpha=0.5, label="Pareto front")
    for choice in choices:
        axes.axvline(choice["limit"], color="tab:red", linestyle=":", linewidth=1)
        axes.text(choice["limit"], 0.98, f" {choice['limit']:g} ms: {choice['name'] or 'none'}", rotation=90,
                  fontsize=7, color="tab:red", va="top", transform=axes.get_xaxis_transform())
    axes.set(xlabel="time for one picture / ms", ylabel="dev error / %", xscale="log", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend(loc="lower left")
    figures.save(figure, out / "pareto.png")
