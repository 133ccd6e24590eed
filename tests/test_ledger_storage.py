"""Where a ledger is kept: what is in it, how durable it is, and what happens if it fails."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import mountsea_banana as api
import psycopg
import pytest
import sqlalchemy
from mountsea_banana import InstantClock, ledger
from mountsea_banana.ledger import InDoubt, Ledger, LedgerError, _location, _schema, _store
from mountsea_banana.mock import MockServer

from tests.conftest import KEY as TOKEN
from tests.conftest import error_in_a_forked_child
from tests.faults import KEY, Fault, FaultServer, response
from tests.ledgers import Caller, Gate, created, everywhere

if TYPE_CHECKING:
    from tests.postgresql import CommitLoser

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs the files of Linux")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pictures.db"


@pytest.fixture
def caller(banana_server: MockServer, clock: InstantClock) -> Caller:
    return Caller(banana_server.url, clock=clock)


# What is in it.


def files_of(path: Path) -> list[Path]:
    """Return the files of an SQLite ledger."""
    return list(path.parent.glob(f"{path.name}*"))


def test_the_ledger_contains_the_prompt_and_never_the_key(path: Path, clock: InstantClock) -> None:
    echo = Fault("echo", response(500, f"no {KEY}".encode()), charges=True)
    accepted = Fault("accepted", response(201, {"taskId": f"t {KEY}"}), charges=True)
    state = {"status": "failed", "errorMessage": f"no {KEY}"}
    failed = Fault("failed", response(200, state))
    with Ledger(path, clock=clock) as ledger, FaultServer(echo, accepted, failed) as server:
        caller = Caller(server.url, clock=clock)
        with pytest.raises(InDoubt):
            caller.submit(ledger, "one", "a unique prompt", api_key=KEY)
        with pytest.raises(api.TaskFailed):
            caller.submit(ledger, "two", api_key=KEY, then=lambda task: task.wait())
        assert ledger.charges() == 2
        contents = b"".join(file.read_bytes() for file in files_of(path))
    assert b"a unique prompt" in contents
    assert KEY.encode() not in contents


def test_a_task_id_that_repeats_the_key_is_recorded_without_it_if_it_arrives_late(
    path: Path, clock: InstantClock
) -> None:
    with Ledger(path, clock=clock) as ledger, Gate(f"t {TOKEN}") as gate:
        caller = Caller("http://127.0.0.1:9", clock=clock)
        with pytest.raises(InDoubt):
            caller.submit(ledger, handler=gate, client={"timeout": 0.01})
        gate.is_open.set()
        while (ledger.find("cat") or pytest.fail("no entry")).state == "in doubt":
            threading.Event().wait(0.001)
        entry = ledger.find("cat")
    assert entry
    assert entry.task_id == "t [redacted]"


@pytest.mark.skipif(os.name != "posix", reason="needs file modes")
def test_only_its_owner_can_read_a_ledger(path: Path, caller: Caller) -> None:
    with Ledger(path) as ledger:
        caller.submit(ledger)
        ledger.back_up(path.with_name("pictures.db.copy"))
        assert len(files_of(path)) == 4
        assert {file.stat().st_mode & 0o777 for file in files_of(path)} == {0o600}


def test_a_backup_is_a_ledger(path: Path, caller: Caller) -> None:
    with Ledger(path) as ledger:
        task_id = caller.submit(ledger)
        copy = path.with_name("copy.db")
        ledger.back_up(copy)
        assert caller.submit(ledger, "later")
        with pytest.raises(LedgerError, match=r"copy\.db' exists"):
            ledger.back_up(copy)
        with pytest.raises(LedgerError, match="cannot be opened for writing"):
            ledger.back_up(path / "file-as-a-folder")
    with Ledger(copy) as restored:
        assert [entry.task_id for entry in restored.entries()] == [task_id]


DISK_IS_FULL = "(database or disk is full|disk I/O error)"


def test_a_backup_that_fails_leaves_no_file(path: Path) -> None:
    with Ledger(path) as ledger:
        for file in files_of(path):
            file.unlink()
        path.write_bytes(b"no database" * 1000)
        copy = path.with_name("copy.db")
        with pytest.raises(LedgerError, match=r"copy\.db' could not be written"):
            ledger.back_up(copy)
        assert not copy.exists()


def test_a_ledger_on_a_server_is_backed_up_there(postgresql: str, path: Path) -> None:
    from tests.postgresql import new_schema

    with (
        Ledger(new_schema(postgresql)) as ledger,
        pytest.raises(LedgerError, match="backed up with pg_dump"),
    ):
        ledger.back_up(path)


# How durable it is.


def test_every_connection_makes_commits_durable(path: Path) -> None:
    with Ledger(path) as ledger, contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(ledger._store._connect())
            synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar()
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar()
            assert (synchronous, journal) == (2, "wal")  # 2 is FULL


def test_every_connection_to_a_server_makes_commits_durable(postgresql: str) -> None:
    from tests.postgresql import new_schema

    location = new_schema(postgresql) + "%20-csynchronous_commit%3Doff"
    with Ledger(location) as ledger, contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(ledger._store._connect())
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            level = connection.exec_driver_sql("SHOW transaction_isolation").scalar()
            assert level == "read committed"


SUBMIT = """
import sys
import httpx
from mountsea_banana import NanoBanana
from mountsea_banana.ledger import Ledger
location, count = sys.argv[1], int(sys.argv[2])
transport = httpx.MockTransport(lambda _: httpx.Response(201, json={"taskId": "t-1"}))
with (
    httpx.Client(transport=transport) as http,
    NanoBanana("key", http_client=http) as banana,
    Ledger(location) as ledger,
):
    for number in range(count):
        ledger.once(f"row {number}", banana).generate("a cat")
"""


def test_a_submission_costs_two_writes_to_the_disk(tmp_path: Path) -> None:
    """One before the request is sent, and one before the task id is handed on."""
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace is not installed")

    def syncs(count: int) -> int:
        report = tmp_path / f"report-{count}"
        trace = [strace, "-f", "-e", "trace=fsync,fdatasync", "-o", str(report)]
        program = [sys.executable, "-c", SUBMIT, str(tmp_path / f"{count}.db"), str(count)]
        done = subprocess.run([*trace, *program], capture_output=True, text=True, check=False)
        if "ptrace" in done.stderr:
            pytest.skip("strace may not trace here")
        assert done.returncode == 0, done.stderr
        return report.read_text("utf-8").count("sync(")

    assert syncs(11) - syncs(1) == 2 * 10


# Many at once.


CROWD = """
import os, sys
import httpx, mountsea_api.api.gemini.api_public_controller_nano_image
import sqlalchemy.dialects.postgresql.psycopg, sqlalchemy.dialects.sqlite, psycopg
from mountsea_banana import NanoBanana
from mountsea_banana.ledger import Ledger
url, location, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
tls = httpx.create_ssl_context()
start, go = os.pipe()
children = []
for _ in range(count):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(start, 1)  # until all processes are there
        with (
            httpx.Client(verify=tls) as http,
            NanoBanana("test-token", base_url=url, http_client=http) as banana,
            Ledger(location) as ledger,
        ):
            task = ledger.once("cat", banana).generate("a cat")
        os.write(1, f"{task.id}\\n".encode())
        os._exit(0)
    children.append(child)
os.close(go)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


@everywhere
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fifty_processes_with_one_key_pay_once(location: str, banana_server: MockServer) -> None:
    command = [sys.executable, "-c", CROWD, banana_server.url, location, "50"]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert len(output.split()) == 50
    assert len(set(output.split())) == banana_server.charged == 1


@everywhere
def test_a_new_ledger_may_be_opened_by_many_at_once(location: str) -> None:
    start = threading.Barrier(8, timeout=60)

    def open_ledger(_: int) -> int:
        start.wait()
        with Ledger(location) as ledger:
            return ledger.charges()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_ledger, range(8))) == [0] * 8


OPEN_AND_CLOSE = """
import sys
from mountsea_banana.ledger import Ledger
with Ledger(sys.argv[1]) as ledger:
    print(*[entry.key for entry in ledger.entries()])
"""


def keys_in_another_process(path: Path) -> list[str]:
    command = [sys.executable, "-c", OPEN_AND_CLOSE, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def test_a_ledger_that_is_opened_twice_in_a_process_stays_locked(
    path: Path, caller: Caller
) -> None:
    """A file that is closed loses SQLite's locks; another process would take it for unused."""
    with Ledger(path) as first:
        caller.submit(first, "one")
        with Ledger(path):
            keys_in_another_process(path)
        caller.submit(first, "two")
        assert keys_in_another_process(path) == ["one", "two"]


@pytest.mark.parametrize("is_replaced", [False, True], ids=["moved", "replaced"])
def test_nothing_is_sent_once_the_ledger_is_elsewhere(
    path: Path, caller: Caller, banana_server: MockServer, is_replaced: bool
) -> None:
    """SQLite would go on writing to the old file."""
    with Ledger(path) as ledger:
        caller.submit(ledger, "one")
        path.rename(path.with_name("moved.db"))
        if is_replaced:
            Ledger(path).close()
        with pytest.raises(LedgerError, match="was moved, deleted or replaced"):
            caller.submit(ledger, "two")
    assert banana_server.charged == 1


def test_a_new_ledger_waits_for_a_process_that_is_about_to_create_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a new file, SQLite does not wait by itself."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(time, "sleep", lambda _: other.execute("COMMIT"))
        with Ledger(path) as ledger:
            assert ledger.charges() == 0


def test_a_new_ledger_that_stays_locked_is_a_clear_error(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "LOCK_SECONDS", 0.05)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked"):
            Ledger(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_that_opens_its_own_ledger_locks_it(path: Path, caller: Caller) -> None:
    """A connection that it inherits would make it believe that it holds the locks already."""
    with Ledger(path) as ledger:
        caller.submit(ledger, "one")
        has_closed, close = os.pipe()
        child = os.fork()
        if child == 0:
            with Ledger(path) as own:
                os.close(close)
                os.read(has_closed, 1)  # until the parent has closed its ledger
                caller.submit(own, "two")
            os._exit(0)
    os.close(close)
    assert os.waitpid(child, 0)[1] == 0
    os.close(has_closed)
    assert keys_in_another_process(path) == ["one", "two"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_cannot_open_a_ledger_that_a_thread_was_using(
    path: Path, caller: Caller
) -> None:
    with Ledger(path) as ledger:
        caller.submit(ledger)
        listing: Any = ledger.entries()
        next(listing)
        message = error_in_a_forked_child(lambda: Ledger(path))
        listing.close()
        assert "was forked" in message
        with Ledger(path) as again:  # in this process, nothing has changed
            assert again.find("cat")
            assert ledger.find("cat")


@everywhere
def test_a_ledger_is_read_and_written_while_its_entries_are_listed(
    ledger: Ledger, caller: Caller
) -> None:
    caller.submit(ledger, "one")
    listing: Any = ledger.entries()
    assert next(listing).key == "one"
    caller.submit(ledger, "two")
    assert [entry.key for entry in ledger.entries()] == ["one", "two"]
    listing.close()


# What happens if it fails.


@only_linux
@pytest.mark.parametrize("place", ["/proc/self/new.db", "/proc/version", "/", "/dev/null/a.db"])
def test_a_place_that_cannot_be_written_is_named_before_anything_is_sent(place: str) -> None:
    with pytest.raises(LedgerError, match=re.escape(repr(place))):
        Ledger(place)


@pytest.mark.parametrize("name", ["missing/a.db", "a\0b", "loop"])
def test_a_path_that_cannot_be_a_ledger_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(LedgerError, match="cannot be opened for writing"):
        Ledger(tmp_path / name)


FULL_DISK = """
import os, resource, sys
import httpx
from mountsea_banana import InstantClock, NanoBanana
from mountsea_banana.ledger import Ledger, LedgerError
path, moment = sys.argv[1:]
posts = 0

def fill_disk():
    largest = max(os.path.getsize(path + suffix) for suffix in ("", "-wal"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))

def handle(request):
    global posts
    posts += 1
    if moment == "after":
        fill_disk()
    return httpx.Response(201, json={"taskId": "t-1"})

with (
    httpx.Client(transport=httpx.MockTransport(handle)) as http,
    NanoBanana("key", http_client=http, clock=InstantClock()) as banana,
    Ledger(path) as ledger,
):
    if moment == "before":
        fill_disk()
    try:
        ledger.once("cat", banana).generate("a cat" * 10_000)
    except LedgerError as error:
        print(posts, error.task_id, error)
"""


@pytest.mark.parametrize(("moment", "known"), [("before", "0 None"), ("after", "1 t-1")])
def test_a_full_disk_is_a_clear_error(path: Path, caller: Caller, moment: str, known: str) -> None:
    pytest.importorskip("resource")
    command = [sys.executable, "-c", FULL_DISK, str(path), moment]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(known), done.stderr
    assert re.search(DISK_IS_FULL, done.stdout)
    with Ledger(path, clock=caller.clock) as ledger:
        assert ledger.charges() == (moment == "after")


@contextlib.contextmanager
def locked(location: str) -> Iterator[None]:
    """Lock a ledger, as another process does that writes to it."""
    if location.startswith("postgresql"):
        with psycopg.connect(location) as server:
            server.execute("LOCK TABLE submissions")
            yield
        return
    with contextlib.closing(sqlite3.connect(location, check_same_thread=False)) as file:
        file.execute("BEGIN IMMEDIATE")
        yield


@everywhere
def test_a_locked_ledger_is_a_clear_error_before_anything_is_sent(
    location: str, caller: Caller, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "LOCK_SECONDS", 0.05)
    with Ledger(location) as ledger:
        with locked(location), pytest.raises(LedgerError, match=r"locked|timeout"):
            caller.submit(ledger)
        assert banana_server.charged == 0
        assert caller.submit(ledger)


@everywhere
def test_a_ledger_that_is_locked_after_the_response_hands_on_the_task_id(
    location: str, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "LOCK_SECONDS", 0.05)
    with Ledger(location) as ledger, contextlib.ExitStack() as stack:

        def handler(request: httpx.Request) -> httpx.Response:
            stack.enter_context(locked(location))
            return created()

        with pytest.raises(LedgerError, match=r"locked|timeout") as caught:
            caller.submit(ledger, handler=handler)
        assert caught.value.task_id == "t-1"


@pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_corrupt_file_is_a_clear_error(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=f"the ledger {str(path)!r} cannot be used"):
        Ledger(path)
    assert path.read_bytes() == content


def test_a_file_that_is_corrupted_later_sends_nothing(
    path: Path, caller: Caller, banana_server: MockServer
) -> None:
    with Ledger(path) as ledger:
        caller.submit(ledger)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(LedgerError), Ledger(path) as ledger:
        caller.submit(ledger, "two")
    assert banana_server.charged == 1


def test_a_result_that_is_no_json_is_a_clear_error(path: Path, caller: Caller) -> None:
    with Ledger(path) as ledger:
        caller.submit(ledger, then=lambda task: task.wait())
        with contextlib.closing(sqlite3.connect(path)) as file, file:
            file.execute("UPDATE submissions SET result = '{'")
        with pytest.raises(LedgerError, match="cannot be used"):
            caller.submit(ledger)


def test_the_file_of_another_program_is_left_alone(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE submissions (name TEXT)")
    with pytest.raises(LedgerError, match="already exists"):
        Ledger(path)
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("SELECT name FROM sqlite_master").fetchall() == [("submissions",)]


@everywhere
def test_a_ledger_of_a_newer_version_is_refused(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(_schema, "MIGRATIONS", [*_schema.MIGRATIONS, lambda _: None])
        Ledger(location).close()
    with pytest.raises(LedgerError, match="has version 2, and this program knows only version 1"):
        Ledger(location)


@everywhere
def test_a_ledger_of_an_older_version_is_brought_up_to_date_once(
    location: str, caller: Caller, banana_server: MockServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Ledger(location) as ledger:
        task_id = caller.submit(ledger)
    steps: list[str] = []

    def add_a_column(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE submissions ADD COLUMN note TEXT")
        steps.append("note")

    monkeypatch.setattr(_schema, "MIGRATIONS", [*_schema.MIGRATIONS, add_a_column])
    for _ in range(2):
        with Ledger(location) as ledger:
            assert caller.submit(ledger) == task_id
    assert steps == ["note"]
    assert banana_server.charged == 1


@everywhere
def test_a_migration_that_fails_changes_nothing(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE submissions ADD COLUMN note TEXT")
        connection.exec_driver_sql("ALTER TABLE nowhere ADD COLUMN note TEXT")

    Ledger(location).close()
    with monkeypatch.context() as failing:
        failing.setattr(_schema, "MIGRATIONS", [*_schema.MIGRATIONS, fail])
        with pytest.raises(LedgerError, match="nowhere"):
            Ledger(location)
    with Ledger(location) as ledger:
        assert list(ledger.entries()) == []


MOUNTS = "/dev/sda / ext4 rw 0 0\n"


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        (MOUNTS, None),
        ("", None),
        (MOUNTS + "server:/a {folder} nfs4 rw 0 0\n", "nfs4"),
        (MOUNTS + "//server/a {parent} cifs rw 0 0\n", "cifs"),
        (MOUNTS + "server:/a {folder} fuse.glusterfs rw 0 0\n", "glusterfs"),
        (MOUNTS + "server:/a {parent} nfs rw 0 0\n/dev/sdb {folder} xfs rw 0 0\n", None),
        (MOUNTS + "auto {folder} autofs rw 0 0\nserver:/a {folder} nfs rw 0 0\n", "nfs"),
        (MOUNTS + "server:/a /elsewhere nfs rw 0 0\n", None),
    ],
)
def test_a_network_file_system_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, kind: str | None
) -> None:
    folder = tmp_path / "with a space"
    folder.mkdir()
    table = tmp_path / "mounts"
    escaped = str(folder).replace(" ", "\\040")
    table.write_text(mounts.format(folder=escaped, parent=tmp_path))
    monkeypatch.setattr(_location, "_MOUNTS", table)
    link = tmp_path / "link.db"
    link.symlink_to(folder / "pictures.db")
    for place in (folder / "pictures.db", link):
        if kind:
            with pytest.raises(LedgerError, match=rf"on a network file system \({kind}\)"):
                Ledger(place)
        else:
            Ledger(place).close()


@only_linux
def test_a_file_that_has_another_name_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite finds the rest of the ledger, beside the file, by the file's name."""
    Ledger(path).close()
    os.link(path, path.with_name("other.db"))
    with pytest.raises(LedgerError, match="is a mounted file or has a hard link"):
        Ledger(path)
    path.with_name("other.db").unlink()
    Ledger(path).close()
    table = path.with_name("mounts")
    table.write_text(f"{MOUNTS}/dev/sda {path} ext4 rw 0 0\n")
    monkeypatch.setattr(_location, "_MOUNTS", table)
    with pytest.raises(LedgerError, match="is a mounted file or has a hard link"):
        Ledger(path)


def test_a_system_without_a_table_of_mounts_is_trusted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_location, "_MOUNTS", path.with_name("missing"))
    Ledger(path).close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///a.db", "cannot be stored in sqlite: pass a path"),
        ("mysql://u:s3cret@host/db", "cannot be stored in mysql"),
        ("postgresql://u:s3cret@host:port/db", "URL is invalid"),
        ("postgresql://u:s3cret@127.0.0.1:9/db", "cannot be used: connection failed"),
        ("postgresql://u@127.0.0.1:9/db?password=s3cret", "cannot be used: connection failed"),
        ("://", "URL is invalid"),
    ],
)
def test_an_unusable_url_is_an_error_without_its_password(url: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message) as caught:
        Ledger(url)
    error: BaseException | None = caught.value
    while error:
        assert "s3cret" not in repr(error)
        error = error.__cause__


@pytest.fixture(params=["breaks", "falls silent"])
def proxy(
    request: pytest.FixtureRequest, postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommitLoser]:
    """A proxy to a server. After a lost commit, the connection breaks or falls silent."""
    from mountsea_banana.ledger import _postgresql

    from tests.postgresql import CommitLoser, new_schema

    class Silencer(CommitLoser):
        error = "the server does not respond"

        def end(self, connection: socket.socket) -> None:
            with monkeypatch.context() as impatient:
                impatient.setattr(_postgresql, "RESPONSE_SECONDS", 0)
                connection.settimeout(30)
                connection.recv(1)  # until the ledger closes the connection

    kind = CommitLoser if request.param == "breaks" else Silencer
    with kind(new_schema(postgresql)) as proxy:
        yield proxy


@pytest.mark.parametrize("commit", [1, 2], ids=["of the claim", "of the task"])
def test_a_commit_whose_acknowledgement_is_lost_is_written_again(
    proxy: CommitLoser, caller: Caller, banana_server: MockServer, commit: int
) -> None:
    with Ledger(proxy.location) as ledger:
        proxy.lose(commit)
        task_id = caller.submit(ledger)
        assert proxy.has_lost_all
        assert [(each.state, each.task_id) for each in ledger.entries()] == [("accepted", task_id)]
    assert banana_server.charged == 1


def test_a_claim_that_nobody_could_confirm_is_freed_by_the_next_call(
    proxy: CommitLoser, caller: Caller, banana_server: MockServer
) -> None:
    with Ledger(proxy.location) as ledger:
        proxy.lose(1, 2)
        with pytest.raises(LedgerError, match=proxy.error):
            caller.submit(ledger)
        assert proxy.has_lost_all
        assert [each.state for each in ledger.entries()] == ["claimed"]
        assert banana_server.charged == 0
        task_id = caller.submit(ledger)
        assert [(each.state, each.task_id) for each in ledger.entries()] == [("accepted", task_id)]
    assert banana_server.charged == 1


def test_the_ledger_leaves_nothing_in_a_session_that_others_use_after_it(
    postgresql: str, caller: Caller
) -> None:
    """So a pooler may give each transaction to another session."""
    from tests.postgresql import new_schema

    with Ledger(new_schema(postgresql)) as ledger:
        for number in range(10):  # the driver would prepare a statement when it has seen it often
            caller.submit(ledger, f"cat {number}")
        with ledger._store._connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "10s"
            prepared = "SELECT count(*) FROM pg_prepared_statements"
            assert connection.exec_driver_sql(prepared).scalar() == 0
            session: Any = connection.connection.dbapi_connection
            session.rollback()
            for name, default in (("statement_timeout", "0"), ("lock_timeout", "0")):
                assert session.execute(f"SHOW {name}").fetchone() == (default,)


def test_every_script_can_be_stored_whatever_the_environment_says(
    postgresql: str, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.postgresql import new_schema

    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    with Ledger(new_schema(postgresql)) as ledger:
        caller.submit(ledger, "猫")
        assert [entry.key for entry in ledger.entries()] == ["猫"]


@pytest.mark.parametrize(("option", "seconds"), [("", "10"), ("&connect_timeout=7", "7")])
def test_the_url_may_say_how_long_to_wait_for_a_connection(
    postgresql: str, option: str, seconds: str
) -> None:
    from tests.postgresql import new_schema

    with (
        Ledger(new_schema(postgresql) + option) as ledger,
        ledger._store._connect() as connection,
    ):
        driver: Any = connection.connection.dbapi_connection
        assert driver.info.get_parameters()["connect_timeout"] == seconds


def test_the_repr_of_a_ledger_hides_the_password(postgresql: str, path: Path) -> None:
    from tests.postgresql import new_schema

    url = new_schema(postgresql).replace("postgres:@", "postgres:s3cret@")
    with Ledger(url) as ledger:
        assert repr(ledger).startswith("Ledger('postgresql+psycopg://postgres:***@")
    with Ledger(path) as ledger:
        assert repr(ledger) == f"Ledger({str(path)!r})"


def test_a_ledger_on_a_server_needs_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(api.ConfigurationError, match=r"pip install 'mountsea-banana\[ledger\]'"):
        Ledger("postgresql://127.0.0.1:9/db")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(vars(ledger), "Ledger", raising=False)
    monkeypatch.setitem(sys.modules, "mountsea_banana.ledger._ledger", None)
    with pytest.raises(ImportError, match=r"pip install 'mountsea-banana\[ledger\]'"):
        _ = ledger.Ledger
