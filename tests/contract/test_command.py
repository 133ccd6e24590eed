"""The contract command: its exit status, its budget, its baseline and its reports."""

from __future__ import annotations

import itertools
import runpy
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from mountsea_banana.contract import Contract
from mountsea_banana.harness import __main__ as command
from mountsea_banana.harness._case import Request
from mountsea_banana.harness._plan import make
from mountsea_banana.harness._transport import Answer, Server
from mountsea_banana.harness._verify import complaints, wrong_answer
from mountsea_banana.mock import MockServer
from starlette.responses import JSONResponse

from tests.contract import defects
from tests.contract.conftest import a_small_plan, server_of, the_plan
from tests.contract.plain_server import PlainServer

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    monkeypatch.setenv("MOUNTSEA_OTHER_API_KEY", "other-token")


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the whole plan, made once for all tests."""
    monkeypatch.setattr("mountsea_banana.harness._plan.make", lambda *_, **__: the_plan())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a part of the plan, where a test is not about what is sent."""
    monkeypatch.setattr("mountsea_banana.harness._plan.make", lambda *_, **__: a_small_plan())
    monkeypatch.setattr("mountsea_banana.harness._run.MIN_CASES_A_RULE", 0)


def run(report: Path, *arguments: str) -> int:
    return command.main(["--report", str(report), *arguments])


def test_the_mock_keeps_the_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 0
    said = capsys.readouterr().out
    assert "with seed 1\n" in said
    assert "contract: the server keeps the contract" in said
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("failures") == "0"
    assert int(suite.get("tests", "0")) > 10
    page = (tmp_path / "index.html").read_text()
    assert '<h1 class="kept">' in page
    assert page.count('class="accepted"') == 2 * (11 + 11 + 4 * 11 + 4 * 15)
    assert 'class="wrong"' not in page
    assert 'class="none"' not in page


def test_a_broken_rule_is_shown_with_its_sentence_the_smallest_body_and_a_line_to_repeat_it(
    tmp_path: Path, small: None, keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("wide ratios are accepted with pro") as server:
        assert run(tmp_path, "--base-url", server.url) == 1
        said = capsys.readouterr().out
        line = next(each for each in said.splitlines() if each.strip().startswith("try"))
        shell = line.partition("try")[2].strip()
        again = subprocess.run(
            ["bash", "-c", shell], capture_output=True, text=True, check=True, timeout=30
        )
    assert "accepts what it should refuse: wide-ratio-needs-2" in said
    assert "nano-banana-2 support all aspect ratios, other models only support" in said
    assert "test-token" not in said
    assert "HTTP/1.1 201" in again.stdout
    assert "the server breaks the contract in one way" in said
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert suite.get("failures") == "1"
    assert "curl" in (suite.findtext(".//failure") or "")
    page = (tmp_path / "index.html").read_text()
    assert 0 < page.count('class="wrong"') < 8
    assert "test-token" not in page


def test_only_deviations_that_the_baseline_lacks_count(
    tmp_path: Path, keys: None, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.txt"
    known = "POST /gemini/image/generate accepted model:enum"
    baseline.write_text(f"# seen in spring\n{known}\nPOST /gone accepted x\n")
    with server_of("any model is accepted") as server:
        status = run(tmp_path, "--base-url", server.url, "--baseline", str(baseline))
    said = capsys.readouterr().out
    assert status == 0
    assert "known POST /gemini/image/generate accepts" in said
    assert f"no longer seen, remove it from {baseline}: POST /gone accepted x" in said
    suite = ET.parse(tmp_path / "junit.xml").getroot()
    assert (suite.get("failures"), suite.get("skipped")) == ("0", "1")


@pytest.mark.parametrize("budget", [0, 3])
def test_a_budget_is_never_exceeded_by_a_server_that_keeps_the_contract(
    tmp_path: Path, keys: None, small: None, budget: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url, "--budget", str(budget)) == 0
        assert len(server.submissions) == budget
    said = capsys.readouterr().out
    assert f", {budget} submissions accepted" in said
    assert "times legal bodies: it may be accepted and charged" in said


@pytest.mark.parametrize("budget", [0, 3])
def test_the_run_stops_at_the_first_acceptance_beyond_the_budget(
    tmp_path: Path, keys: None, small: None, budget: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("resolution is accepted with every model") as server:
        assert run(tmp_path, "--base-url", server.url, "--budget", str(budget)) == 1
        assert len(server.submissions) == budget + 1
    said = capsys.readouterr().out
    assert f"stopped: the server accepted {budget + 1} submissions" in said
    assert "FAIL  POST /gemini/image/generate accepts what it should refuse" in said


def test_a_wrong_key_is_one_line(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "wrong-key-of-mine")
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "refuses the key in MOUNTSEA_API_KEY with 401" in said
    assert "wrong-key-of-mine" not in said


def test_a_wrong_second_key_is_one_line(
    tmp_path: Path,
    small: None,
    keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOUNTSEA_OTHER_API_KEY", "wrong")
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url) == 2
    assert "refuses the key in MOUNTSEA_OTHER_API_KEY" in capsys.readouterr().err


def test_without_a_second_key_what_needs_it_is_left_out(
    tmp_path: Path,
    small: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "test-token")
    with server_of("every account sees every task") as server:
        assert run(tmp_path, "--base-url", server.url) == 0
    said = capsys.readouterr().out
    assert "1 times another account's task: set MOUNTSEA_OTHER_API_KEY" in said


def test_a_run_that_sent_too_little_for_a_rule_is_2(
    tmp_path: Path,
    small: None,
    keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("mountsea_banana.harness._run.MIN_CASES_A_RULE", 10_000)
    with MockServer() as server:
        assert run(tmp_path, "--base-url", server.url) == 2
    said = capsys.readouterr().out
    assert "no verdict: too few bodies could be sent for edit-needs-image-urls" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--base-url", "http://127.0.0.1:1"], "no server to test at http://127.0.0.1:1"),
        (["--base-url", "https://127.0.0.1:1"], "no server to test at https://127.0.0.1:1"),
        (["--base-url", "127.0.0.1:8000"], "is no http(s) address of a server"),
        (["--base-url", ""], "is no http(s) address of a server"),
        (["--base-url", "http://example.com"], "would send the key in the clear"),
        (["--base-url", "https://example.com"], "set MOUNTSEA_API_KEY"),
        (["--base-url", "http://127.0.0.1:1", "--budget", "-1"], "from 0 up"),
        (["--baseline", "nowhere.txt"], "the baseline nowhere.txt cannot be read"),
        (["--spec", "nowhere.yaml"], "cannot read the spec nowhere.yaml"),
    ],
)
def test_what_cannot_be_tested_is_2_with_one_line(
    tmp_path: Path, small: None, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_key_that_no_header_carries_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOUNTSEA_API_KEY", "a\nb")
    assert run(tmp_path, "--base-url", "http://127.0.0.1:1") == 2
    assert "no header can carry" in capsys.readouterr().err


def test_a_mock_that_does_not_start_is_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    assert run(tmp_path) == 2
    assert "the mock did not start: it said nothing" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_2_and_leaves_no_half_file(
    tmp_path: Path, small: None, keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "report" / "junit.xml").mkdir(parents=True)
    with MockServer() as server:
        assert run(tmp_path / "file", "--base-url", server.url) == 2
        assert run(tmp_path / "report", "--base-url", server.url) == 2
    assert "the report cannot be written" in capsys.readouterr().err
    assert [each.name for each in (tmp_path / "report").iterdir()] == ["junit.xml"]


def test_an_interrupted_run_is_2(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mountsea_banana.harness._run.Run.go", interrupt)
    assert run(tmp_path, "--base-url", "http://127.0.0.1:1") == 2
    assert capsys.readouterr().err == "contract: cannot test: interrupted\n"


def test_without_its_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['schemathesis'] = None\n"
        "from mountsea_banana.harness.__main__ import main; sys.exit(main([]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ran.returncode == 2
    assert "pip install 'mountsea-banana[contract]'" in ran.stderr


def test_a_terminal_sees_how_far_the_run_is(
    tmp_path: Path,
    small: None,
    keys: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with MockServer() as server:
        run(tmp_path, "--base-url", server.url)
    said = capsys.readouterr().err
    assert "\rcontract: 100 of about" in said
    assert said.endswith("\r\x1b[K")


def test_the_same_seed_makes_the_same_cases_and_another_seed_makes_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mountsea_banana.harness._bodies.MAX_COMBINATIONS", 10)
    monkeypatch.setattr("mountsea_banana.harness._generated.EXAMPLES", 10)
    monkeypatch.setattr("mountsea_banana.harness._generated.EXAMPLES_A_RULE", 5)
    contract = Contract.load()

    def requests(seed: int) -> list[Any]:
        return [case.request for case in make(contract, seed).cases()]

    first = requests(7)
    assert first == requests(7)
    assert first != requests(8)


class Silent:
    """A server that takes connections and says nothing, or little."""

    def __init__(self, answers: list[bytes], *, is_closing: bool = False) -> None:
        self._answers = answers
        self._is_closing = is_closing

    def __enter__(self) -> str:
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def _serve(self) -> None:
        kept = []
        for answer in [*self._answers, *[b""] * 1000]:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.recv(100_000)
            connection.sendall(answer)
            if answer and not self._is_closing:
                kept.append(connection)
            else:
                connection.close()

    def __exit__(self, *_: object) -> None:
        self._socket.close()


REFUSAL = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
KEPT = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\n{}"


def test_a_connection_that_the_server_closes_between_requests_is_no_failure() -> None:
    with Silent([KEPT] * 4, is_closing=True) as url:
        server = Server(url, {})
        answers = [server.send(Request("GET", "/")) for _ in range(4)]
        server.close()
    assert [answer.status for answer in answers] == [400] * 4


def test_a_server_that_says_nothing_is_not_waited_for_longer_than_the_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(f"http://127.0.0.1:{listener.getsockname()[1]}", {}, timeout=0.1)
        assert server.send(Request("GET", "/")).fault == "no answer came within 0.1 s"
        server.close()


@pytest.mark.parametrize("body", [b"\xff\x00'", b"a" * 5000])
def test_a_body_that_no_shell_line_holds_goes_through_a_pipe(body: bytes) -> None:
    line = Request("POST", "/", (), body).curl("http://127.0.0.1:1")
    pipe, _, curl = line.partition(" | ")
    shown = subprocess.run(["bash", "-c", pipe], capture_output=True, check=True).stdout
    assert shown == body[:1000]
    assert "--data-binary @-" in curl
    assert ("# 1000 of 5000 bytes" in curl) == (len(body) > 1000)


def test_a_body_too_large_may_end_the_connection() -> None:
    case = next(case for case in the_plan().cases() if case.may_drop)
    assert list(complaints(case, Answer(0, fault="closed"))) == []


def test_an_answer_with_nan_is_no_json() -> None:
    answer = Answer(201, {"content-type": "application/json"}, b'{"taskId": NaN}')
    found = wrong_answer(the_plan().submissions[0].operation, answer)
    assert [complaint.detail for complaint in found] == ["no JSON"]


def test_the_first_failure_is_enough_where_that_is_asked_for(
    tmp_path: Path, small: None, keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("no key is needed to look") as server:
        assert run(tmp_path, "--base-url", server.url, "--fail-fast") == 1
    assert "stopped: the first failure was enough" in capsys.readouterr().out


def test_the_ways_of_one_cause_are_told(
    tmp_path: Path, small: None, keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("no key is needed to look") as server:
        assert run(tmp_path, "--base-url", server.url) == 1
    said = capsys.readouterr().out
    assert "ways      no Authorization header; an empty Authorization header; " in said
    assert " … (26 in all)" in said


def test_a_run_that_known_deviations_stop_gives_no_verdict(
    tmp_path: Path, whole: None, keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "baseline.txt"
    baseline.write_text("POST /gemini/image/generate accepted model:enum\n")
    options = ["--budget", "0", "--baseline", str(baseline)]
    with server_of("any model is accepted") as server:
        assert run(tmp_path, "--base-url", server.url, *options) == 2
    assert "no verdict: the run was stopped" in capsys.readouterr().out


def test_the_module_runs_as_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["contract", "--budget", "-1"])
    monkeypatch.delitem(sys.modules, "mountsea_banana.harness.__main__")
    with pytest.raises(SystemExit) as stop:
        runpy.run_module("mountsea_banana.harness", run_name="__main__")
    assert stop.value.code == 2


def test_a_missing_part_of_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mountsea_banana.harness._run", None)
    assert run(tmp_path) == 2
    assert "pip install 'mountsea-banana[contract]'" in capsys.readouterr().err


def test_a_server_that_stops_answering_ends_the_run(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Silent([REFUSAL] * 3) as url:
        assert run(tmp_path, "--base-url", url) == 1
    said = capsys.readouterr().out
    assert "gives no answer: the connection was closed without an answer" in said
    assert "5 requests were not answered" in said


def test_what_is_no_http_is_2(
    tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with Silent([b"220 mail.example.com ESMTP\r\n"] * 5) as url:
        assert run(tmp_path, "--base-url", url) == 2
    assert "no HTTP answer came: BadStatusLine" in capsys.readouterr().err


class Limited:
    """Limits every other request, and says how long to wait, or not."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._count = itertools.count()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        count = next(self._count)
        wait = "0" if count % 4 == 1 else "soon"
        answer = JSONResponse({}, 429, headers={"Retry-After": wait})
        is_limited = count % 2 and "picture" not in scope["path"]
        await (answer if is_limited else self._app)(scope, receive, send)


def test_a_server_that_limits_requests_is_waited_for(
    tmp_path: Path, small: None, keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    app = defects.application(Contract.load(), "the mock")
    app.add_middleware(Limited)
    with MockServer(app=app) as server:
        assert run(tmp_path, "--base-url", server.url) == 0


def test_a_server_that_looks_for_the_task_before_the_key_passes_where_no_task_may_be_made(
    tmp_path: Path, small: None, keys: None, capsys: pytest.CaptureFixture[str]
) -> None:
    with server_of("the task before the key") as server:
        status = run(tmp_path, "--base-url", server.url, "--budget", "0")
    assert status == 0, capsys.readouterr().out


@pytest.mark.parametrize("many", [False, True], ids=["one connection at a time", "many"])
@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_a_server_of_another_make_passes(
    tmp_path: Path,
    small: None,
    keys: None,
    protocol: str,
    many: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with PlainServer(protocol=protocol, many=many) as server:
        assert run(tmp_path, "--base-url", server.url) == 0, capsys.readouterr().out
    assert "left out" not in capsys.readouterr().out
