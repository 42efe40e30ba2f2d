"""The map of the Deep Learning Specialization: each week and assignment, and the experiments and ops that are it.

Names of experiments that are not registered stand in the map too; the site says that they are missing.
"""

from typing import NamedTuple

__all__ = ["ASSIGNMENTS", "COURSES", "Assignment"]

COURSES = {
    1: "Neural Networks and Deep Learning",
    2: "Improving Deep Neural Networks",
    3: "Structuring Machine Learning Projects",
    4: "Convolutional Neural Networks",
    5: "Sequence Models",
}


class Assignment(NamedTuple):
    """week: W2, or W2A1 where the week has an assignment.

    experiments: by name, what runs it. ops: those that are it where no experiment is, or beside one. tests: the file
    that holds the assignment's printed values against ours. missing: what cannot be had, and what stands in its place.
    """

    course: int
    week: str
    title: str
    experiments: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    tests: str = ""
    missing: str = ""


VALUES = "tests/test_ground_truth.py"
SEQUENCES = "tests/test_ground_truth_images_sequences.py"

ASSIGNMENTS = (
    Assignment(1, "W2A1", "Python basics with NumPy", ("vectorization",), ("sigmoid", "softmax"), VALUES),
    Assignment(1, "W2A2", "Logistic regression: is there a cat?", ("logistic-regression",),
               tests="tests/test_ground_truth_runs.py"),
    Assignment(1, "W3A1", "Points of a flower, one hidden layer", ("planar",), tests="tests/test_ground_truth_runs.py"),
    Assignment(1, "W4A1", "A deep network, step by step", (), ("dense", "sigmoid", "relu", "binary_cross_entropy"),
               VALUES),
    Assignment(1, "W4A2", "A deep network: is there a cat?", ("deep-network", "digits"),
               tests="tests/test_ground_truth_runs.py"),
    Assignment(2, "W1", "Bias and variance", ("bias-variance",)),
    Assignment(2, "W1A1", "Initialization", ("initialization",), tests="tests/test_ground_truth_runs.py"),
    Assignment(2, "W1A2", "Regularization", ("regularization",), ("dropout",), "tests/test_ground_truth_runs.py"),
    Assignment(2, "W1A3", "Gradient checking", ("gradient-checking",), tests=VALUES),
    Assignment(2, "W2A1", "Optimization", ("optimizers",), tests="tests/test_ground_truth_runs.py"),
    Assignment(2, "W3", "Hyperparameters and batch norm", ("hyperparameters", "batch-norm"), ("batch_norm",)),
    Assignment(2, "W3A1", "Hands by a softmax", ("softmax-signs",), missing="the HDF5 training file; the same 1,080 "
               "pictures are read from JPEG"),
    Assignment(3, "W1", "What to measure, people's level; the case of the birds",
               ("metric", "human-level", "case-studies"),
               missing="there is no programming assignment in this course"),
    Assignment(3, "W2", "Error analysis, other distributions, several tasks; the case of the driving",
               ("error-analysis", "mislabelled", "mismatch", "transfer", "multi-task", "end-to-end",
                "case-studies")),
    Assignment(4, "W1A1", "Convolution, step by step", ("convolution-step-by-step",),
               ("conv", "max_pool", "average_pool"), SEQUENCES),
    Assignment(4, "W1A2", "A convolutional network for hands, and the Happy House", ("convnet", "happy-house"),
               missing="the 600 training pictures of the Happy House; its 150 test pictures are read in folds"),
    Assignment(4, "W2A1", "Residual networks", ("signs-resnet", "degradation", "architectures"), ("add", "batch_norm"),
               "tests/test_ground_truth_residual.py", "the weights that the course trained"),
    Assignment(4, "W2A2", "Transfer learning with MobileNet", ("transfer-learning",),
               missing="MobileNet's ImageNet weights; SqueezeNet's stand in their place"),
    Assignment(4, "W3A1", "Cars, found by YOLO", ("detect-cars", "train-detector"), ("iou", "yolo_boxes"),
               "tests/detection/test_course_cases.py",
               "YOLO v2's weights; YOLO-Fastest's stand in their place"),
    Assignment(4, "W3A2", "Pixels, labelled by a U-Net", ("segmentation",), ("conv_transpose",),
               "tests/models/test_unet.py", "CARLA's frames; CamVid's stand in their place"),
    Assignment(4, "W4A1", "Faces, verified and recognized", ("face-verification", "face-recognition"),
               ("triplet_loss", "l2_normalize"), "tests/test_ground_truth_faces_style.py"),
    Assignment(4, "W4A2", "A picture in another's style", ("style-transfer",), ("gram_matrix",),
               "tests/test_ground_truth_faces_style.py", "VGG-19's weights; SqueezeNet's stand in their place"),
    Assignment(5, "W1A1", "Recurrent networks, step by step", ("recurrent-by-hand", "long-memory"),
               ("rnn", "lstm", "gru"), SEQUENCES),
    Assignment(5, "W1A2", "Names of dinosaurs, and sonnets", ("dinosaurus", "shakespeare"),
               tests="tests/experiments/test_course5.py"),
    Assignment(5, "W1A3", "Jazz by an LSTM", ("jazz", "chorales"), tests="tests/test_ground_truth_music.py"),
    Assignment(5, "W2A1", "Word vectors and their bias", ("word2vec", "glove", "debias"),
               tests="tests/test_ground_truth_words.py", missing="GloVe whole; 9,187 of its words are read"),
    Assignment(5, "W2A2", "Emojify", ("emojify", "sentiment"),
               tests="tests/test_ground_truth_words.py", missing="GloVe whole; 9,187 of its words are read"),
    Assignment(5, "W3A1", "Dates, translated with attention", ("translate-dates",), ("additive_attention",),
               "tests/experiments/test_translate_dates.py"),
    Assignment(5, "W3A2", "A trigger word", ("trigger-word", "spoken-digits", "digit-strings", "prompts"), ("ctc",),
               "tests/test_ground_truth_speech.py", "the course's weights and its training clips, which are made anew"),
    Assignment(5, "W4A1", "The transformer", ("translate-dates", "shakespeare"),
               ("attention", "layer_norm", "rotary"), "tests/test_ground_truth_transformer.py"),
    Assignment(5, "W4A2", "Names and intents in sentences", ("intents",),
               missing="the course's résumés, which are people's own; SNIPS stands in their place"),
    Assignment(5, "W4A3", "Questions about a text, and conversation", ("babi", "dialog"),
               missing="DistilBERT's weights; a memory network is trained"),
)
