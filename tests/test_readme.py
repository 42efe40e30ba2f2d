"""The README's Python, run as one session, as a reader would type it."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    session: dict = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), session)
    printed = capsys.readouterr().out
    assert "backward of 'double' is not linear in dy: in the cotangent of 'x' it adds a term" in printed
    assert "right: equal to the reference's gradient" in printed
    assert "bytes of cache" in printed


def test_every_command_exists():
    """Each experiment of the table is one that `list` names."""
    from experiments.__main__ import EXPERIMENTS

    table = re.findall(r"^\| `([a-z-]+)` \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(table) == set(EXPERIMENTS)
