"""Data sets, split and checked, as NumPy arrays with the examples first.

Some are generated (`planar_flower`, `noisy_moons`), some come with scikit-learn (`load_digits`),
and the course's photographs are read from files you provide (`load_cat`). Nothing is downloaded unless
`fetch=True` asks for it (MNIST, Fashion-MNIST, CIFAR).
"""

from jaxnn.data.alpacas import Alpacas, load_alpacas
from jaxnn.data.babi import Question, load_babi, read_babi
from jaxnn.data.batches import Batches
from jaxnn.data.camvid import CamVid, load_camvid
from jaxnn.data.checks import check_examples
from jaxnn.data.cifar import load_cifar10, load_cifar100
from jaxnn.data.dates import DatePairs, human_dates, load_dates, parse_date
from jaxnn.data.dialogs import RestaurantDialogs, Turn, load_dialogs, read_dialogs
from jaxnn.data.directory import data_directory, find
from jaxnn.data.download import DownloadFailed, download
from jaxnn.data.football import FootballField, load_football
from jaxnn.data.happy import HappyFaces, load_happy
from jaxnn.data.hdf5 import Field, list_hdf5, read_hdf5
from jaxnn.data.idx import ImageClasses, load_fashion_mnist, load_mnist, read_idx
from jaxnn.data.image_folder import ImageFolder, load_image_folder, read_picture
from jaxnn.data.images import CatPhotographs, load_cat, pixels_to_rows
from jaxnn.data.lines import read_text_lines
from jaxnn.data.music import PianoRolls, load_chorales, load_metheny, load_nottingham
from jaxnn.data.npz import read_npz
from jaxnn.data.olivetti import Faces, load_olivetti
from jaxnn.data.planar import (
    blobs,
    gaussian_quantiles,
    noisy_circles,
    noisy_moons,
    planar_flower,
)
from jaxnn.data.prompts import Prompts, load_prompts
from jaxnn.data.raccoons import Raccoons, load_raccoons
from jaxnn.data.sentences import EMOJIS, LabelledSentences, load_emojify, load_sst2
from jaxnn.data.signs import Signs, load_signs
from jaxnn.data.snips import Snips, Utterance, load_snips
from jaxnn.data.splits import Split, split, standardize
from jaxnn.data.spoken_digits import SpokenDigits, load_spoken_digits
from jaxnn.data.tables import BreastCancer, Digits, load_breast_cancer, load_digits
from jaxnn.data.trigger_clips import Recording, TriggerClips, load_trigger_clips
from jaxnn.data.usps import load_usps
from jaxnn.data.wav import Sound, decode_wav, encode_wav, read_wav, write_wav
from jaxnn.data.words import (
    GenderWords,
    find_glove,
    load_analogies,
    load_definitions,
    load_gender_words,
    load_word_pairs,
)
from jaxnn.file_errors import BadFile, MissingData

__all__ = [
    "EMOJIS",
    "Alpacas",
    "BadFile",
    "Batches",
    "BreastCancer",
    "CamVid",
    "CatPhotographs",
    "DatePairs",
    "Digits",
    "DownloadFailed",
    "Faces",
    "Field",
    "FootballField",
    "GenderWords",
    "HappyFaces",
    "ImageClasses",
    "ImageFolder",
    "LabelledSentences",
    "MissingData",
    "PianoRolls",
    "Prompts",
    "Question",
    "Raccoons",
    "Recording",
    "RestaurantDialogs",
    "Signs",
    "Snips",
    "Sound",
    "Split",
    "SpokenDigits",
    "TriggerClips",
    "Turn",
    "Utterance",
    "blobs",
    "check_examples",
    "data_directory",
    "decode_wav",
    "download",
    "encode_wav",
    "find",
    "find_glove",
    "gaussian_quantiles",
    "human_dates",
    "list_hdf5",
    "load_alpacas",
    "load_analogies",
    "load_babi",
    "load_breast_cancer",
    "load_camvid",
    "load_cat",
    "load_chorales",
    "load_cifar10",
    "load_cifar100",
    "load_dates",
    "load_definitions",
    "load_dialogs",
    "load_digits",
    "load_emojify",
    "load_fashion_mnist",
    "load_football",
    "load_gender_words",
    "load_happy",
    "load_image_folder",
    "load_metheny",
    "load_mnist",
    "load_nottingham",
    "load_olivetti",
    "load_prompts",
    "load_raccoons",
    "load_signs",
    "load_snips",
    "load_spoken_digits",
    "load_sst2",
    "load_trigger_clips",
    "load_usps",
    "load_word_pairs",
    "noisy_circles",
    "noisy_moons",
    "parse_date",
    "pixels_to_rows",
    "planar_flower",
    "read_babi",
    "read_dialogs",
    "read_hdf5",
    "read_idx",
    "read_npz",
    "read_picture",
    "read_text_lines",
    "read_wav",
    "split",
    "standardize",
    "write_wav",
]
