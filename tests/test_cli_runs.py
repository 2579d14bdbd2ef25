"""What the command line runs is a run like any other: listed under its job, run again in the UI, known to sensors."""

import os
import subprocess
from pathlib import Path

import pytest
from lab import PROGRAM, Lab, environment

from sheaf.fermentation.sample import campaign

pytestmark = pytest.mark.timeout(600)
JOB = 'repositoryLocationName: "sheaf", repositoryName: "__repository__", pipelineName: "fermentation"'


def lines(text: str) -> list[list[str]]:
    """The lines of progress, without their times."""
    return [line.split()[:-2] for line in text.splitlines() if line.startswith("fermentation ")]


@pytest.mark.case("front-door/cli-runs-invisible")
@pytest.mark.campaign
def test_runs_of_the_command_line_are_first_class(tmp_path: Path) -> None:
    campaign.write(tmp_path / "inbox", only="batch-13-b")
    for path in (tmp_path / "inbox").rglob("*"):
        os.utime(path, (path.stat().st_mtime - 3600,) * 2)  # nobody is still writing it
    command = [PROGRAM, "run", "fermentation"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert lines(done.stderr) == [
        ["fermentation", "batch-13-b", "6", "exports,", "6", "new"],
        ["fermentation", "campaign", "2", "exports,", "2", "new"],
    ]
    found = [line for line in done.stderr.splitlines() if line.startswith("check ")]
    assert len(found) == 1
    assert found[0].startswith("check batch-13-b: features sensor_gaps: 21 gaps, the longest: ")

    lab = Lab(tmp_path)
    try:

        def job_runs() -> list[dict]:
            answer = lab.ask(f"{{pipelineOrError(params: {{{JOB}}}) {{... on Pipeline {{runs {{runId status}}}}}}}}")
            return answer["pipelineOrError"].get("runs", [])

        lab.wait("the job's runs", job_runs)
        ((run, status),) = [run.values() for run in job_runs()]
        assert status == "SUCCESS"
        feed = (
            "{runsFeedOrError(limit: 9, view: RUNS) {... on RunsFeedConnection {results {... on Run {repositoryOrigin"
        )
        entries = lab.ask(f"{feed} {{repositoryLocationName}}}}}}}}}}}}")["runsFeedOrError"]["results"]
        assert [entry["repositoryOrigin"]["repositoryLocationName"] for entry in entries] == ["sheaf", "sheaf"]

        # Two ticks of the sensor pass; it asks for nothing that the command has done.
        tick = '{sensorOrError(sensorSelector: {repositoryLocationName: "sheaf", repositoryName: "__repository__", '
        tick += 'sensorName: "fermentation_inbox"}) {... on Sensor {sensorState {ticks(limit: 5) {status}}}}}'
        lab.wait("two ticks", lambda: len(lab.ask(tick)["sensorOrError"]["sensorState"]["ticks"]) >= 2)
        assert len(lab.runs()) == 2

        asked = lab.ask(
            f'mutation {{launchRunReexecution(reexecutionParams: {{parentRunId: "{run}", strategy: ALL_STEPS, '
            "useParentRunTags: true}) {__typename ... on LaunchRunSuccess {run {runId}} "
            "... on PythonError {message}}}"
        )["launchRunReexecution"]
        assert asked["__typename"] == "LaunchRunSuccess", asked
        again = f'{{runOrError(runId: "{asked["run"]["runId"]}") {{... on Run {{status}}}}}}'
        # Somebody else runs a command meanwhile: it must not take the new run for one whose process is gone.
        other = subprocess.run([PROGRAM, "doctor"], env=environment(tmp_path), capture_output=True, check=False)
        assert other.returncode == 0
        lab.wait("the run", lambda: lab.ask(again)["runOrError"]["status"] in ("SUCCESS", "FAILURE", "CANCELED"))
        assert lab.ask(again)["runOrError"]["status"] == "SUCCESS"
    finally:
        left = lab.stop()
    assert not left


@pytest.mark.campaign
def test_a_program_hears_nothing_but_its_document(tmp_path: Path) -> None:
    campaign.write(tmp_path / "inbox", only="batch-12-b")
    command = [PROGRAM, "run", "fermentation", "batch-12-b", "--json"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert (done.stderr, done.stdout[0]) == ("", "[")
    done = subprocess.run(command[:-1], env=environment(tmp_path), capture_output=True, text=True, check=True)
    assert lines(done.stderr)[0] == ["fermentation", "batch-12-b", "6", "exports,", "0", "new"]
