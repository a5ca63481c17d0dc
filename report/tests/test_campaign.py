"""A small campaign of bad inputs over all scripts; `python -m report.tests.campaign` runs larger ones."""
import sys

from part1.tests.background import context


def run(result, log):
    sys.stdout = sys.stderr = open(log, "w")
    from report.tests import campaign
    result.send(campaign.campaign(0, 80, draw=False))


def test_bad_inputs_end_in_one_line_and_leave_nothing_behind(tmp_path):
    result, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(sender, tmp_path / "log"))
    process.start()
    sender.close()
    process.join()
    log = (tmp_path / "log").read_text()
    assert process.exitcode == 0, log
    faults, statuses = result.recv()
    assert not faults, log
    assert statuses[2] > 25  # most inputs are bad indeed
