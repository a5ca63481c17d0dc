"""A small campaign of bad inputs over all scripts; `python -m report.tests.campaign` runs larger ones."""
import json
import subprocess
import sys

from part1 import files


def test_bad_inputs_end_in_one_line_and_leave_nothing_behind():
    done = subprocess.run([sys.executable, "-m", "report.tests.campaign", "0", "80"], cwd=files.ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *faults, last = done.stdout.splitlines()
    assert not faults, done.stdout
    assert json.loads(last)["exit statuses"]["2"] > 25  # most inputs are bad indeed
