"""The command line of the experiments.

    python -m experiments list
    python -m experiments run NAME [--out DIR] [--overwrite] [--data-dir DIR] [knobs ...]
    python -m experiments compare [NAME] [--size SIZE] [--batch N] [--under ...] [--dtypes ...] [--cost]
    python -m experiments compare --mutants [--ops A,B] [--sizes A,B] [--checkers A,B] [--jobs N] [--anew] [--out DIR]
    python -m experiments faults all|kill|corrupt|edits|failing|hostile|signals [-n N]
    python -m experiments scale curves|collectives|measure|predict
    python -m experiments bench [NAME ...] [--op NAME | --all-ops] [--size SIZE] [--batch N] [--rounds N]
        [--precision NAME] [--keep-memory] [--out DIR]
    python -m experiments talk [--about restaurants|stories] [--networks DIR] [--anew] [--threshold P]
    python -m experiments gallery [--runs DIR] [--out DIR]
"""

import argparse
import difflib
import importlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from experiments.gallery.course import COURSES
from experiments.shared.knobs import add_options, from_options
from experiments.shared.run import divergences, results, say, write_metrics
from jaxnn.checks import InputError
from jaxnn.data import BadFile, MissingData, data_directory
from jaxnn.memory import keep_memory
from jaxnn.training import Diverged

# Each module has a docstring that opens with its question, `Knobs`, and `run(knobs, out, data_dir)`,
# which puts pictures into out and returns the measures.
EXPERIMENTS = {
    "digits": "experiments.course1.digits",
    "logistic-regression": "experiments.course1.logistic_regression",
    "planar": "experiments.course1.planar",
    "deep-network": "experiments.course1.deep_network",
    "vectorization": "experiments.course1.vectorization",
    "initialization": "experiments.course2.initialization",
    "regularization": "experiments.course2.regularization",
    "gradient-checking": "experiments.course2.gradient_checking",
    "optimizers": "experiments.course2.optimizers.experiment",
    "batch-norm": "experiments.course2.batch_norm.experiment",
    "softmax-signs": "experiments.course2.softmax_signs",
    "hyperparameters": "experiments.course2.hyperparameters.experiment",
    "bias-variance": "experiments.course2.bias_variance.experiment",
    "metric": "experiments.course3.metric",
    "human-level": "experiments.course3.human_level",
    "mislabelled": "experiments.course3.mislabelled",
    "error-analysis": "experiments.course3.error_analysis",
    "mismatch": "experiments.course3.mismatch",
    "transfer": "experiments.course3.transfer",
    "end-to-end": "experiments.course3.end_to_end",
    "multi-task": "experiments.course3.multi_task",
    "case-studies": "experiments.course3.case_studies",
    "convolution-step-by-step": "experiments.course4.step_by_step",
    "convnet": "experiments.course4.convnet",
    "signs-resnet": "experiments.course4.signs_resnet",
    "degradation": "experiments.course4.signs_resnet_depth",
    "architectures": "experiments.course4.architectures",
    "transfer-learning": "experiments.course4.transfer",
    "segmentation": "experiments.course4.segmentation.experiment",
    "happy-house": "experiments.course4.happy_house",
    "detect-cars": "experiments.course4.detect_cars",
    "train-detector": "experiments.course4.train_detector.experiment",
    "face-verification": "experiments.course4.face_verification",
    "face-recognition": "experiments.course4.face_recognition",
    "style-transfer": "experiments.course4.style_transfer",
    "recurrent-by-hand": "experiments.course5.by_hand",
    "dinosaurus": "experiments.course5.dinosaurus",
    "long-memory": "experiments.course5.long_memory",
    "translate-dates": "experiments.course5.translate_dates",
    "shakespeare": "experiments.course5.shakespeare",
    "spoken-digits": "experiments.course5.speech.spoken_digits",
    "digit-strings": "experiments.course5.speech.digit_strings",
    "trigger-word": "experiments.course5.speech.trigger_word",
    "prompts": "experiments.course5.speech.prompts",
    "jazz": "experiments.course5.jazz.experiment",
    "chorales": "experiments.course5.chorales.experiment",
    "intents": "experiments.course5.intents.experiment",
    "babi": "experiments.course5.babi",
    "dialog": "experiments.course5.dialog",
    "word2vec": "experiments.course5.word2vec",
    "glove": "experiments.course5.glove",
    "debias": "experiments.course5.debias",
    "emojify": "experiments.course5.emojify",
    "sentiment": "experiments.course5.sentiment",
}
HELP = ("-h", "--help")
EXPECTED = (InputError, MissingData, BadFile, ModuleNotFoundError)  # errors whose message says it all


def list_experiments(argv: Sequence[str]) -> int:
    """list: the experiments and their questions, course by course."""
    if argv and argv[0] in HELP:
        print("usage: python -m experiments list\n\nNames the experiments, course by course, with their questions.")
        return 0
    if argv:
        return refuse(f"list expects no argument; got {' '.join(argv)!r}")
    width = max(map(len, EXPERIMENTS))
    for number, title in COURSES.items():
        print(f"Course {number}: {title}")
        for name, module in EXPERIMENTS.items():
            if course(name) == number:
                print(f"  {name:{width}}  {question(importlib.import_module(module))}")
    print("`python -m experiments run NAME --help` shows the knobs of one, and which data it reads.")
    return 0


def run(argv: Sequence[str]) -> int:
    """run NAME: one experiment; `run NAME --help` shows its knobs."""
    if argv and argv[0] in HELP:
        print("usage: python -m experiments run NAME [--out DIR] [--overwrite] [--data-dir DIR] [knobs ...]\n\n"
              "Runs one experiment; `run NAME --help` shows its knobs, and `list` names all experiments.")
        return 0
    if not argv or argv[0].startswith("-"):
        return refuse(f"run expects the name of an experiment first: {', '.join(EXPERIMENTS)}")
    name = argv[0]
    if name not in EXPERIMENTS:
        nearest = difflib.get_close_matches(name, EXPERIMENTS, n=1, cutoff=0.5)
        todo = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(EXPERIMENTS)}"
        return refuse(f"run expects the name of an experiment; got {name!r}; {todo}")
    experiment = importlib.import_module(EXPERIMENTS[name])
    options = options_of(name, experiment).parse_args(argv[1:])
    begin = time.perf_counter()
    try:
        knobs = from_options(experiment.Knobs, options)
        with results(options.out, overwrite=options.overwrite) as out:
            if options.data_dir is not None:
                data_directory(options.data_dir)  # a directory asked for must be there, even if it is not needed
            metrics = experiment.run(knobs, out, options.data_dir)
            seconds, problems = time.perf_counter() - begin, list(divergences(metrics))
            write_metrics(out, name, knobs, {**metrics, **({"diverged": problems} if problems else {})}, seconds)
    except EXPECTED as error:
        return refuse(str(error))
    except Diverged as error:
        return diverged(str(error))
    say(f"{options.out / 'metrics.json'} and its pictures, {seconds:.1f} s")
    return diverged("; ".join(problems)) if problems else 0


# What each command does, and its function: imported when the command is given, for not all need all.
COMMANDS = {
    "list": ("names the experiments and their questions, course by course", "experiments.__main__:list_experiments"),
    "run": ("runs one experiment; `run NAME --help` shows its knobs", "experiments.__main__:run"),
    "compare": ("compares ops with their references; --mutants counts what gradient checkers miss",
                "experiments.compare.command:compare"),
    "faults": ("kills runs, damages checkpoints and makes writes fail, and says what was lost",
               "experiments.faults.command:faults"),
    "scale": ("trains on one and on many devices, and measures and predicts what they send and take",
              "experiments.scale.command:scale"),
    "bench": ("measures time and memory beside autodiff's, as ratios", "experiments.bench.command:bench"),
    "talk": ("holds a conversation about restaurants or stories, by a memory network",
             "experiments.talk.command:talk"),
    "gallery": ("makes one site of all results: cards, a map of the course, derivations",
                "experiments.gallery.command:gallery"),
}


def course(name: str) -> int:
    """The number of the course to which an experiment belongs, by the folder of its module."""
    return int(EXPERIMENTS[name].split(".")[1].removeprefix("course"))


def question(experiment: ModuleType) -> str:
    return (experiment.__doc__ or "").splitlines()[0]


def options_of(name: str, experiment: ModuleType) -> argparse.ArgumentParser:
    # After the knobs stands what the module says: other commands, what is done, the result, time and device.
    account = (experiment.__doc__ or "").partition("\n")[2].strip("\n")
    parser = argparse.ArgumentParser(f"python -m experiments run {name}", description=question(experiment),
                                     epilog=account, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=Path("runs", name), metavar="DIR",
                        help=f"where metrics.json and the pictures go (default: runs/{name})")
    parser.add_argument("--overwrite", action="store_true", help="replace the results of an earlier run in that place")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data files lie "
                        "(default: the environment variable JAXNN_DATA, else a per-user cache)")
    add_options(parser, experiment.Knobs)
    return parser


def diverged(problem: str) -> int:
    """The exit status of a training that diverged, after a sentence about it."""
    print(f"diverged: {problem}; a smaller learning rate may do", file=sys.stderr)
    return 1


def refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    commands = "\n".join(f"  {name:8} {what}" for name, (what, _) in COMMANDS.items())
    usage = (f"usage: python -m experiments {'|'.join(COMMANDS)} ...\n\n{commands}\n\n"
             "`python -m experiments COMMAND --help` shows the options of one. Begin with `run digits`, which needs no "
             "data files.")
    if argv and argv[0] in COMMANDS:
        module, function = COMMANDS[argv[0]][1].split(":")
        return int(getattr(importlib.import_module(module), function)(argv[1:]))
    if argv and argv[0] in HELP:
        print(usage)
        return 0
    return refuse(f"expected a command; got {argv[0] if argv else 'none'}\n{usage}")


if __name__ == "__main__":
    # Not for what measures; and who sets GLIBC_TUNABLES, to nothing even, has settings of their own.
    if sys.argv[1:2] in (["run"], ["talk"]) and "GLIBC_TUNABLES" not in os.environ:
        keep_memory()
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has gone: no error, and nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
