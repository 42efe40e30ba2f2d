"""Files as they were published, the course's and others, known by their SHA-256."""

import hashlib
from pathlib import Path

from jaxnn.file_errors import BadFile

__all__ = ["SHA256", "expect_published"]

# Of train_signs.h5 and train_happy.h5 no copy was at hand: they have no entry, and only their arrays are looked at.
SHA256 = {
    "train_catvnoncat.h5": "fbe56ab67c3ae28d564e3a644189117976d6b31af0a3ce9bb17dbf22908af242",
    "test_catvnoncat.h5": "6a9d39ce52fa85953c5834695b8534a30ed8cfd54971fb2f080b5a24d002b951",
    "data.mat": "1218828095bf91d215622d00b2a5b8784c359e29d9d9c5734949b8e60c5bc231",
    "test_signs.h5": "539fb746ed9e947eb244cfca73f4d1b03f9bf5524d609eeed2cd76ddb1b179be",
    "signs_64x64_jpg.tar": "dc11bd83334a6a97460d0cc776ef5f33173bfea6f40f37fe44afa80af81f876c",
    "alpaca_160x160_jpg.tar": "2dac75b91e0d4c52d155f854db8be0c997a5d76a497b392a588f3c0e20d19979",
    "olivettifaces.mat": "b1988d02c72fe5b8ee82b5ef3bb7982eafc74f1e1ff0ae0ade35061ad0af534d",
    "test_happy.h5": "5e23db2f28769de83214dce1411e651489d713f9e1ec5d1ca6a61b6222115add",
    "JSB_Chorales.mat": "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4",
    "Nottingham.mat": "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea",
    "original_metheny.mid": "0da8322ceab36b036682b5ece0c315193f7b701a3340a0ca5a523b107c6f428d",
    "usps.h5": "734f88c541104a956d88be2c95d03b4a463ffd74ccc2ba9c80841fb98e3fcb36",
}


def expect_published(path: Path, name: str) -> None:
    """Compares a file with the one that the course published under this name, where its hash is known.

    The readers look at a file's arrays first, because then a message can name what is wrong with them. A bit
    that is flipped inside of a pixel is found only here.

    Raises:
      BadFile: the file is another one.
    """
    expected = SHA256.get(name)
    if expected is None:
        return
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise BadFile(f"{path} expects the file that the course published, of SHA-256 {expected}; got SHA-256 "
                      f"{actual}; get the file again")
