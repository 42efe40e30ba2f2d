"""Dialogs about restaurants: what is read of a small archive and of the published one, and what is refused in words."""

import io
import lzma
import re
import tarfile

import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.data import BadFile, MissingData, Turn, load_dialogs, read_dialogs
from jaxnn.data.dialogs import PROPERTIES, SILENCE, TASKS
from tests import course

NEEDS_DATA = pytest.mark.skipif(course.data_directory() is None,
                                reason="the course's data are not here: set JAXNN_DATA")
DIALOG = ("1 hi\thello\n2 <SILENCE>\tapi_call thai\n3 resto_a R_price cheap\n4 resto_a R_rating 3\n"
          "5 <SILENCE>\tresto_a\n\n1 hi\thello\n")
KNOWLEDGE = "".join(f"1 resto_a {key}\tv{n}\n" for n, key in enumerate(PROPERTIES))
NAMES = [f"task1_API_calls_{part}.txt" for part in ("train", "dev", "test", "test_OOV")]
FILES = dict.fromkeys(NAMES, DIALOG) | {"babi_candidates.txt": "1 hello\n1 api_call thai\n1 resto_a\n",
                                        "babi_kb.txt": KNOWLEDGE}


def packed(files, folder="dlg/"):
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, content in files.items():
                content = content if isinstance(content, bytes) else content.encode()
                entry = tarfile.TarInfo(folder + name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        return lzma.compress(buffer.getvalue(), preset=0)


def write(path, files, **options):
    file = path / "dialogs.tar.xz"
    file.write_bytes(packed(files, **options))
    return file


def test_what_is_read(tmp_path):
    found = read_dialogs(write(tmp_path, FILES), 1)
    assert found.train == found.test_oov == (
        (Turn((), "hi", "hello"), Turn((), SILENCE, "api_call thai"),
         Turn(("resto_a R_price cheap", "resto_a R_rating 3"), SILENCE, "resto_a")), (Turn((), "hi", "hello"),))
    assert found.candidates == ("hello", "api_call thai", "resto_a")
    assert found.knowledge["resto_a"]["R_address"] == "v5"
    assert read_dialogs(write(tmp_path, FILES, folder=""), 1) == found  # in no folder


@pytest.mark.parametrize(("name", "content", "message"), [
    (NAMES[0], "1 hi\thello\n2 <SILENCE>\tapi_call th", "one of the 3 candidates; got 'api_call th'"),
    (NAMES[0], "1 hi\thello\n2 <SILE", "a tabulator before the response, or a fact of three words; got '<SILE'"),
    (NAMES[0], "1 hi\thello\n2", "a fact of three words; got ''"),
    (NAMES[0], "1 hi\thello\n3 hi\thello", "the number 2 and a blank in front; got '3 hi"),
    (NAMES[0], "1 hi\thello\n2 hi\t", "an utterance, one tabulator and a response"),
    (NAMES[0], "1 hi\thello\thello", "one tabulator"),
    (NAMES[0], "1 hi\thello\n2 resto_a R_price cheap\n", "a turn behind the facts"),
    (NAMES[0], "1 resto_a R_pric cheap\n2 hi\thello", "a fact of three words"),
    (NAMES[1], "1 hi\tgood bye", "a response that is one of the 3 candidates; got 'good bye'"),
    (NAMES[1], "\n\n", "at least one dialog; got none"),
    (NAMES[2], b"1 hi\thell\xf6", "text in UTF-8; got b'\\xf6'"),
    (NAMES[2], "1 hi\thello".encode("utf-16"), "text in UTF-8"),
    (NAMES[3], "", "at least one line; got an empty file"),
    ("babi_candidates.txt", "1 hello\n2 thai\n", "'1', a blank and a response; got '2 thai'"),
    ("babi_candidates.txt", "1 hello\n1 hello\n", "each response once; got ['hello'] twice"),
    ("babi_kb.txt", KNOWLEDGE[:-4], "'1', a restaurant, a property, a tabulator and a value"),
    ("babi_kb.txt", KNOWLEDGE[:-23], "without ['R_number']"),
    ("babi_kb.txt", KNOWLEDGE * 2, "each property once; got R_cuisine of resto_a twice"),
    ("babi_kb.txt", "1 resto_a R_stars\t5\n", "one of the properties R_cuisine"),
])
def test_refused_contents(tmp_path, name, content, message):
    with pytest.raises(BadFile, match=re.escape(message)) as error:
        read_dialogs(write(tmp_path, FILES | {name: content}), 1)
    assert name in str(error.value)


def test_refused_archives(tmp_path):
    file = write(tmp_path, FILES)
    whole = file.read_bytes()
    with pytest.raises(BadFile, match=r"the 6 files of the task; got no task2_API_refine_dev\.txt"):
        read_dialogs(file, 2)
    for task in (0, 6, True, "1", None):
        with pytest.raises(InputError, match=r"task, an integer in 1 \.\. 5"):
            read_dialogs(file, task)
    for content in (whole[:-9], b"", b"\x1f\x8b" + whole, lzma.compress(b"no archive" * 100)):
        file.write_bytes(content)
        with pytest.raises(BadFile, match=r"whole archive|got no"):
            read_dialogs(file, 1)
    file.write_bytes(lzma.compress(bytes(2**26 + 1), preset=0))  # a bomb: 10 kB that unpack to 67 MB
    with pytest.raises(BadFile, match="at most 67,108,864 bytes"):
        read_dialogs(file, 1)
    with pytest.raises(BadFile, match="a regular file"):
        read_dialogs(tmp_path, 1)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_dialogs(tmp_path / "none", 1)
    with pytest.raises(MissingData, match=r"dialog_babi_tasks1-5\.tar\.xz"):
        load_dialogs(1, tmp_path)


def test_mutations_raise_our_errors_alone(tmp_path):
    """The archive with a byte changed or cut off there; and the unpacked one, whose headers lie."""
    file, rng, refused = tmp_path / "dialogs.tar.xz", np.random.default_rng(0), 0
    whole = packed(FILES)
    tar = lzma.decompress(whole)
    for number in range(600):
        source = whole if number % 2 else tar
        place, byte = int(rng.integers(len(source))), bytes([rng.integers(256)])
        changed = source[:place] + byte + source[place + 1:] if number % 3 else source[:place]
        file.write_bytes(changed if number % 2 else lzma.compress(changed, preset=0))
        try:
            read_dialogs(file, 1)
        except BadFile:
            refused += 1
    assert refused > 300


@NEEDS_DATA
@pytest.mark.parametrize("task", [1, 5])
def test_the_published_dialogs(task):
    found = load_dialogs(task)
    assert [len(part) for part in found[:4]] == [1000] * 4
    assert len(found.candidates) == 4212 and len(found.knowledge) == 1200
    assert sum(map(len, found.train)) == {1: 6024, 5: 18340}[task]  # responses
    assert set(TASKS) == {1, 2, 3, 4, 5}
    # Every fact is of the knowledge base, but for the number of people, which is the one that was asked for.
    facts = {fact for part in found[:4] for dialog in part for turn in dialog for fact in turn.facts}
    assert bool(facts) == (task == 5)
    for fact in facts:
        name, key, value = fact.split()
        assert key == "R_number" or found.knowledge[name][key] == value
