"""Count the defective servers that plain schemathesis and the contract tests of this project find.

`--seconds` limits schemathesis; the contract tests take about seven seconds. The raw spec
is extended with the rejections, because plain schemathesis stops at the first undocumented status.
Its check that valid requests are accepted is excluded: it fails on every server, because the schema
allows any `taskId`, and no server has a task for each.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from mountsea_banana.contract import Contract  # noqa: E402
from mountsea_banana.mock import MockServer  # noqa: E402

from tests.contract import defects  # noqa: E402

TOOLS = ("schemathesis, raw spec", "schemathesis, spec + overlay", "make contract")


def documents(folder: Path) -> Mapping[str, Path]:
    """Write the two documents for plain schemathesis; return their paths by tool."""
    contract = Contract.load()
    effective = copy.deepcopy(dict(contract.document))
    raw = copy.deepcopy(effective)
    raw["components"]["schemas"]["NanoImageDto"].pop("allOf")
    paths: dict[str, Path] = {}
    for tool, document in zip(TOOLS, (raw, effective), strict=False):
        paths[tool] = folder / f"{len(paths)}.json"
        paths[tool].write_text(json.dumps(document))
    return paths


def finds_a_failure(tool: str, server: str, seconds: int, folder: Path) -> bool:
    """Return whether a tool reports a failure of a server; False if it takes ten times too long."""
    environment = {
        **os.environ,
        "MOUNTSEA_API_KEY": "test-token",
        "MOUNTSEA_OTHER_API_KEY": "other-token",
    }
    if tool == "make contract":
        command = [sys.executable, "-m", "mountsea_banana.harness", "--base-url", server]
        command += ["--report", str(folder / "report")]
    else:
        command = [str(Path(sys.executable).with_name("schemathesis")), "run"]
        command += [
            str(documents(folder)[tool]),
            "--url",
            server,
            "-H",
            "Authorization: Bearer test-token",
            "--seed",
            "1",
        ]
        command += ["--max-examples", "10000", "--max-time", str(seconds), "--max-failures", "1"]
        command += ["--exclude-checks", "positive_data_acceptance"]
    try:
        completed = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            env=environment,
            check=False,
            timeout=10 * seconds,
            cwd=folder,
        )
    except subprocess.TimeoutExpired:
        return False
    return completed.returncode == 1


def compare(name: str, seconds: int) -> tuple[str, dict[str, bool]]:
    """Return the server's name, and for each tool whether it reports a failure."""
    found = {}
    for tool in TOOLS:
        app: Any = defects.application(Contract.load(), name)
        with MockServer(app=app) as server, tempfile.TemporaryDirectory() as folder:
            found[tool] = finds_a_failure(tool, server.url, seconds, Path(folder))
    return name, found


def main() -> None:
    """Print a row for each server, and then the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--seconds",
        type=int,
        default=7,
        help="seconds that schemathesis may take per server (default: %(default)s)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="servers to test in parallel (default: %(default)s)"
    )
    options = parser.parse_args()
    caught: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    names = [*defects.DEFECTS, *defects.CONFORMING]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for name, found in pool.map(compare, names, [options.seconds] * len(names)):
            (caught if name in defects.DEFECTS else alarms).update(t for t in TOOLS if found[t])
            print(
                name, *("caught" if found[tool] else "-" for tool in TOOLS), sep=" | ", flush=True
            )
    for tool in TOOLS:
        print(
            f"{tool}: caught {caught[tool]} of {len(defects.DEFECTS)}, "
            f"false alarms {alarms[tool]} of {len(defects.CONFORMING)}"
        )


if __name__ == "__main__":
    main()
