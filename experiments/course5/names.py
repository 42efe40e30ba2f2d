"""The dinosaurs' names: the file of the course, 54 names that need no file, and names as arrays.

The alphabet is the newline, which ends a name, and the letters a to z: 27 symbols.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.checks import InputError
from jaxnn.data.directory import find

__all__ = ["ALPHABET", "NAMES", "Names", "as_arrays", "load_names", "spelled"]

ALPHABET = "\nabcdefghijklmnopqrstuvwxyz"

# Well-known ones, for a run without the course's file.
NAMES = (
    "Abelisaurus Albertosaurus Allosaurus Amargasaurus Ankylosaurus Apatosaurus Archaeopteryx Baryonyx Brachiosaurus "
    "Camarasaurus Carcharodontosaurus Carnotaurus Centrosaurus Ceratosaurus Chasmosaurus Coelophysis Compsognathus "
    "Corythosaurus Daspletosaurus Deinonychus Dilophosaurus Diplodocus Dryosaurus Edmontosaurus Eoraptor "
    "Euoplocephalus Gallimimus Giganotosaurus Gorgosaurus Hadrosaurus Herrerasaurus Hypsilophodon Iguanodon "
    "Kentrosaurus Lambeosaurus Maiasaura Mamenchisaurus Massospondylus Megalosaurus Ornithomimus Oviraptor "
    "Pachycephalosaurus Parasaurolophus Plateosaurus Protoceratops Psittacosaurus "
    "Spinosaurus Stegosaurus Styracosaurus Tarbosaurus "
    "Triceratops Troodon Tyrannosaurus Velociraptor").lower().split()


class Names(NamedTuple):
    """Names as a language model reads them, padded to one length.

    ids: (names, time) int32, the places in ALPHABET of each name's letters and of the newline at its end; 0 behind.
    lengths: (names,), with the newline.
    """

    ids: np.ndarray
    lengths: np.ndarray


def load_names(directory: Path | None = None) -> list[str]:
    """The 1,536 names of the course's dinos.txt in small letters, in the order of the file.

    Raises:
      MissingData: the file is not there.
      InputError: the file holds other symbols.
    """
    path = find("c5/dinos.txt", directory, how_to_get="get dinos.txt from the assignment Character level language "
                "model of course 5, week 1", instead="--data known")
    names = [line.strip() for line in path.read_text(encoding="utf-8").lower().splitlines()]
    others = sorted(set("".join(names)) - set(ALPHABET))
    if others or not all(names):
        raise InputError(str(path), "expects one name of the letters a to z in each line; got "
                         + (f"the symbols {others}" if others else "an empty line"))
    return names


def as_arrays(names: list[str]) -> Names:
    lengths = np.array([len(name) + 1 for name in names], np.int32)
    ids = np.zeros((len(names), lengths.max()), np.int32)
    for row, name in zip(ids, names, strict=True):
        row[:len(name)] = [ALPHABET.index(letter) for letter in name]
    return Names(ids, lengths)


def spelled(ids: list[int]) -> str:
    """A name of its symbols, with a capital, up to its newline."""
    return "".join(ALPHABET[i] for i in ids).split("\n")[0].capitalize()
