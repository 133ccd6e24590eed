"""A worker that runs in a separate process: it resumes tasks by id and saves their images.

    python worker.py add tasks.db "a cat"    # from a web server, a cron job or a shell
    python worker.py work tasks.db out       # anywhere, as often as you like

The task id is stored as soon as the submission returns it. If the worker stops for any reason, the
next one continues with the same tasks and submits nothing twice. With Celery, call `add` in the web
process, and `finish` in a Celery task that takes the task id.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

from mountsea_banana import NanoBanana, NanoBananaError, TaskFailed


def open_store(path: str) -> sqlite3.Connection:
    """Open the database that holds the ids of open tasks; create it if necessary."""
    store = sqlite3.connect(path)
    store.execute("CREATE TABLE IF NOT EXISTS open_tasks (id TEXT PRIMARY KEY)")
    return store


def add(store: sqlite3.Connection, banana: NanoBanana, prompt: str) -> str:
    """Start generating an image, then print and store the task id.

    Raises sqlite3.OperationalError before anything is charged if the database is not writable.
    """
    with store:
        store.execute("BEGIN IMMEDIATE")
        task = banana.generate(prompt)
        print(task.id)
        store.execute("INSERT INTO open_tasks VALUES (?)", [task.id])
    return task.id


def finish(banana: NanoBanana, task_id: str, folder: Path) -> Path:
    """Wait for a task and save its image in `folder`, named after the task."""
    return banana.task(task_id).wait().save(folder, overwrite=True)


def work(store: sqlite3.Connection, banana: NanoBanana, folder: Path) -> None:
    """Finish every open task. A task that cannot be finished yet stays open."""
    folder.mkdir(exist_ok=True)
    for (task_id,) in store.execute("SELECT id FROM open_tasks").fetchall():
        try:
            print("saved", finish(banana, task_id, folder))
        except TaskFailed as error:
            print(error)
        except NanoBananaError as error:
            print(f"{task_id} stays open: {error}", file=sys.stderr)
            continue
        with store:
            store.execute("DELETE FROM open_tasks WHERE id = ?", [task_id])


def main(command: str, path: str, argument: str) -> None:
    """Run the `add` or the `work` command."""
    with contextlib.closing(open_store(path)) as store, NanoBanana() as banana:
        if command == "add":
            add(store, banana, argument)
        else:
            work(store, banana, Path(argument))


if __name__ == "__main__":
    main(*sys.argv[1:])
