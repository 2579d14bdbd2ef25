"""The programs that the specifications print, run unchanged against `sheaf serve`.

    python .ci/spec_programs.py ../shared

They are taken from the documents as they stand: Python and shell. They speak to port 8000 of this machine, so nothing
else may listen there. What a document leaves to its reader is given as it says: the name `admin`, a token, the id
of a batch, and a CSV of pairs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
URL = "http://localhost:8000/api/v1"
PASSWORD = "admin123"  # noqa: S105  # as 000 prints it


def blocks(document: str, language: str) -> list[str]:
    """The code of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", document, re.MULTILINE | re.DOTALL)


def document(shared: Path, number: str) -> str:
    """A specification, with the characters that were damaged on their way."""
    (path,) = (shared / "spec").glob(f"{number}_*.txt")
    return path.read_text(encoding="utf-8")


def ask(path: str, body: dict[str, object] | None = None, token: str = "") -> object:
    """One request to the server."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(URL + path, json.dumps(body).encode() if body else None, headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        return json.load(answer)


def run(what: str, command: list[str], folder: Path, text: str = "", expect: str = "") -> str:
    """Run a program; it has to end well and to say something.

    Raises:
        SystemExit: it did not.
    """
    done = subprocess.run(  # noqa: S603
        command, input=text, cwd=folder, capture_output=True, text=True, check=False, timeout=600
    )
    if done.returncode or expect not in done.stdout:
        sys.exit(f"{what} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    print(f"ok  {what}")
    return done.stdout


def batches(text: str, folder: Path, token: str) -> None:
    """000: the shell commands with a token and an id, the program that logs in, the one over all batches."""
    found = ask("/batches?status=complete", token=token)
    assert isinstance(found, list)
    shell = next(block for block in blocks(text, "bash") if "BATCH_ID=" in block)
    shell = shell.replace("your-batch-uuid-here", found[0]["batch_id"]).replace("your-auth-token", token)
    run("000: export with curl", ["bash", "-euc", shell], folder)
    for name, start in (("batch_report.md", "# Batch #"), ("batch_samples.csv", "batch_id,"), ("batch_data.json", "{")):
        assert (folder / name).read_text(encoding="utf-8").startswith(start), name
    one, every = (block for block in blocks(text, "python") if "import requests" in block)
    run("000: one batch in Python", [sys.executable, "-"], folder, one, "batch_id")
    given = f"def get_auth_token():\n    return {token!r}\n"
    run("000: all batches in Python", [sys.executable, "-"], folder, given + every, f"Exported {len(found)} batches")


def pairs(text: str, folder: Path, home: Path) -> None:
    """001: the workflow in shell, then the program with a CSV of two sounds."""
    workflow = text.split("Complete Workflow Example\n")[-1]  # the first is in its table of contents
    shell = "\n".join(blocks(workflow.split("Python Script Examples\n")[0], "bash"))
    # Its files are on another machine, so its pairs fail; the workflow itself has to come to its end.
    run("001: the workflow in shell", ["bash", "-uc", shell], folder, "", "Results saved to batch_results_")
    program = folder / "batch_processor.py"
    program.write_text(next(block for block in blocks(text, "python") if "def upload_batch_csv" in block), "utf-8")
    rows = (home / "inbox" / "media" / "harbour_dubs.csv").read_text(encoding="utf-8").splitlines()
    (folder / "pairs.csv").write_text("\n".join(rows[:2]) + "\n", encoding="utf-8")
    out = run("001: the batch processor", [sys.executable, str(program), "pairs.csv"], folder, "", "Batch Summary:")
    assert "Completed: 1" in out, out
    for path in ("/health", "/analysis/methods"):
        assert ask(path)


def main(shared: Path) -> None:
    """Start a server on sample data and run everything against it."""
    with tempfile.TemporaryDirectory() as temporary:
        home, folder = Path(temporary) / "home", Path(temporary) / "work"
        folder.mkdir()
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("SHEAF_", "DAGSTER_"))}
        environment = ours | {"SHEAF_HOME": str(home), "PYTHONPATH": str(ROOT)}
        write = "from pathlib import Path; from pipelines.samples import write_samples; write_samples(Path('{}'))"
        subprocess.run([sys.executable, "-c", write.format(home / "inbox")], env=environment, check=True)  # noqa: S603
        sheaf = [sys.executable, "-c", "from pipelines.cli.main import main; main()"]
        partitions = ["batch-12-b", "batch-16-c"]
        subprocess.run([*sheaf, "run", "fermentation", *partitions], env=environment, check=True)  # noqa: S603
        with subprocess.Popen([*sheaf, "serve", "--port", "8000"], env=environment) as server:  # noqa: S603
            try:
                for _ in range(120):
                    try:
                        ask("/health")
                        break
                    except OSError:
                        time.sleep(0.5)
                pairs(document(shared, "001"), folder, home)  # as printed: without a login, on this machine
                adds = [*sheaf, "users", "add", "admin", "--role", "admin"]
                subprocess.run(adds, env=environment, input=PASSWORD + "\n", text=True, check=True)  # noqa: S603
                login = ask("/auth/login", {"username": "admin", "password": PASSWORD})
                assert isinstance(login, dict)
                batches(document(shared, "000"), folder, login["access_token"])
            finally:
                server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
