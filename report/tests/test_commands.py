"""The commands in the README and in the docstrings of the scripts are ones that the scripts take."""
import ast
import importlib
import re
import shlex

import pytest

from part1 import files

TEXTS = {"README.md": (files.ROOT / "README.md").read_text(encoding="utf-8"), **{
    path.relative_to(files.ROOT).as_posix(): ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    for path in sorted(files.ROOT.glob("*/*.py"))}}
COMMANDS = [(place, module, flags) for place, text in TEXTS.items() for module, flags in re.findall(
    r"python -m ((?:part\d|assets|report)\.\w+)([^\n`;]*)", re.sub(r"\\\n", " ", text))]


@pytest.mark.parametrize("place, module, flags", COMMANDS, ids=[f"{place}: {module}" for place, module, _ in COMMANDS])
def test_the_script_takes_the_flags(place, module, flags):
    importlib.import_module(module).parse_args(shlex.split(flags, comments=True))


def test_there_are_such_commands():
    assert {"README.md", "part1/train.py", "part2/train_text.py", "part3/gcn.py"} <= {place for place, *_ in COMMANDS}
