"""The layers of the project: Part 1 on the ground, Part 2, Part 3 and assets above it, the report on top."""
import ast
import json
import subprocess
import sys

import pytest

from part1.files import ROOT

BELOW = {"part1": set(), "part2": {"part1"}, "part3": {"part1"}, "assets": {"part1"},
         "report": {"part1", "part2", "part3", "assets"}}  # what each may import
WITHOUT_TORCH = [
    "part1.cli", "part1.files", "part1.style", "part1.drawing", "part2.drawing", "part3.graph", "part3.layers",
    "part3.gcn", "part3.edge_list", "part3.drawing", "part3.benchmark", "assets.download", "report.plots",
    "report.tables", "report.latex", "report.build", "report.submit", "report.page"]


def imports(path):
    """The packages of the project that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0] if node.level == 0 else path.relative_to(ROOT).parts[0])
    return names & BELOW.keys()


@pytest.mark.parametrize("package", BELOW)
def test_a_package_imports_only_from_below(package):
    paths = list((ROOT / package).rglob("*.py"))
    upwards = {str(path.relative_to(ROOT)): names for path in paths
               if (names := imports(path) - BELOW[package] - {package})}
    assert len(paths) > 1 and not upwards


@pytest.fixture(scope="module")
def importing():
    """What went wrong when a module was imported where there is no torch, by name ("" for nothing): in one process."""
    program = """
import importlib, json, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            wrong[module] = "imports torch"
            raise ImportError

sys.meta_path.insert(0, NoTorch())
wrong = {}
for module in sys.argv[1:]:
    wrong[module] = ""
    try:
        importlib.import_module(module)
    except Exception as error:
        wrong[module] = wrong[module] or repr(error)
print(json.dumps(wrong))
"""
    return json.loads(subprocess.run([sys.executable, "-c", program, *WITHOUT_TORCH, "part1.run"], cwd=ROOT, check=True,
                                     stdout=subprocess.PIPE).stdout)


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_needs_no_torch_does_not_import_it(module, importing):
    if not (ROOT / module.replace(".", "/")).with_suffix(".py").exists():
        pytest.skip(f"there is no {module}")
    assert importing[module] == "" and importing["part1.run"] == "imports torch"
