"""The data sets of the experiments: what they are, and under which licence their keepers give them."""

from typing import NamedTuple

__all__ = ["DATA_SETS", "DataSet"]

NOT_STATED = "no licence stated; not part of this repository"


class DataSet(NamedTuple):
    name: str
    licence: str


DATA_SETS = {
    "random": DataSet("random numbers, drawn by the experiment", "ours"),
    "digits": DataSet("scikit-learn's 1,797 handwritten digits, 8x8", "CC BY 4.0 (UCI)"),
    "breast-cancer": DataSet("scikit-learn's breast-cancer table, 569 rows", "CC BY 4.0 (UCI)"),
    "cat": DataSet("the course's 259 photographs with and without a cat", NOT_STATED),
    "flower": DataSet("the course's flower and other points in the plane, by their formula", "ours"),
    "circles": DataSet("the course's circles, by their formula", "ours"),
    "moons": DataSet("the course's moons, by their formula", "ours"),
    "football": DataSet("the course's football field, 411 points", NOT_STATED),
    "signs": DataSet("SIGNS: the course's 1,200 photographs of hands", NOT_STATED),
    "digits and camvid": DataSet("scikit-learn's digits, and the frames of CamVid", "CC BY 4.0; CC BY-NC 4.0"),
    "usps": DataSet("USPS: 9,298 digits of postal codes, 16x16", NOT_STATED),
    "happy": DataSet("the course's 750 pictures of faces at a door", NOT_STATED),
    "happy-test": DataSet("the 150 test pictures of the course's Happy House", NOT_STATED),
    "alpacas": DataSet("the course's 327 photographs with and without an alpaca", NOT_STATED),
    "camvid": DataSet("CamVid: 701 frames of a street, labelled pixel by pixel, 96x128", "CC BY-NC 4.0"),
    "raccoons": DataSet("200 photographs with 217 raccoons in boxes", "MIT"),
    "drive.ai": DataSet("drive.ai's frames, with YOLO-Fastest's weights", "frames CC BY 4.0; weights free for any use"),
    "olivetti": DataSet("Olivetti: 400 pictures of 40 people, with OpenFace's weights",
                        "unstated, credit to the ORL data base; weights Apache 2.0"),
    "pictures": DataSet("the course's Louvre and paintings, with SqueezeNet's weights",
                        "pictures: none stated; weights BSD-2"),
    "drawing": DataSet("a drawing made by the experiment", "ours"),
    "scenes": DataSet("digits on canvases, made by the experiment of scikit-learn's", "CC BY 4.0 (UCI)"),
    "dinosaurs": DataSet("the course's 1,536 names of dinosaurs", NOT_STATED),
    "names": DataSet("names of dinosaurs that come with the experiment", "ours"),
    "sonnets": DataSet("Shakespeare's sonnets", "public domain"),
    "four sonnets": DataSet("four sonnets of Shakespeare", "public domain"),
    "dates": DataSet("dates in 23 formats, made by the experiment", "ours"),
    "course dates": DataSet("the course's 10,000 dates, and its released weights", "dates: ours; weights: MIT"),
    "tune": DataSet("a tune that comes with the experiment", "ours"),
    "synthetic": DataSet("made by the experiment", "ours"),
    "fsdd": DataSet("Free Spoken Digit Dataset: 3,000 recordings of six speakers", "CC BY-SA 4.0"),
    "metheny": DataSet("the course's MIDI tune", "copyrighted music; not part of this repository"),
    "jsb": DataSet("Bach's chorales as piano rolls", "MIT"),
    "nottingham": DataSet("Nottingham folk tunes as piano rolls", "MIT"),
    "gcide": DataSet("4.64 million words of the GCIDE and WordNet dictionaries", "GPL-2+; WordNet licence"),
    "glove": DataSet("GloVe 6B, 50 dimensions, 9,187 words", "PDDL 1.0"),
    "emojify": DataSet("the course's 188 sentences with an emoji", NOT_STATED),
    "sst2": DataSet("Stanford Sentiment Treebank, two classes", NOT_STATED),
    "trigger": DataSet("the course's recordings of a trigger word", NOT_STATED),
    "prompts": DataSet("417 English prompts of one voice", "CC BY-SA 3.0"),
    "babi": DataSet("bAbI, task 4", "CC BY 3.0"),
    "snips": DataSet("SNIPS: sentences with intents and slots", "CC0"),
    "dialogs": DataSet("dialog bAbI, tasks 1 to 5", "CC BY 3.0"),
}
