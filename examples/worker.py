"""A worker in a process of its own: it picks tasks up by their ids and saves the pictures.

    python worker.py add pictures.db "a cat"    # in a web server, a cron job, a shell
    python worker.py work pictures.db out       # anywhere, as often as you like

The id is stored as soon as the submission returns it. Whatever ends the worker, the next one goes
on with the same tasks, and nothing is submitted again. With Celery, `add` is what the web process
calls and `finish` the body of the Celery task, whose argument is the id.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

from mountsea_banana import NanoBanana, NanoBananaError, TaskFailed


def open_store(path: str) -> sqlite3.Connection:
    """Return the store of the ids of open tasks."""
    store = sqlite3.connect(path)
    store.execute("CREATE TABLE IF NOT EXISTS open_tasks (id TEXT PRIMARY KEY)")
    return store


def add(store: sqlite3.Connection, banana: NanoBanana, prompt: str) -> str:
    """Submit the making of a picture, and say and store its task's id.

    A store that cannot be written to is found before anything is paid for.
    """
    with store:
        store.execute("BEGIN IMMEDIATE")
        task = banana.generate(prompt)
        print(task.id)
        store.execute("INSERT INTO open_tasks VALUES (?)", [task.id])
    return task.id


def finish(banana: NanoBanana, task_id: str, folder: Path) -> Path:
    """Wait for a task and save its picture in `folder`, named after the task."""
    return banana.task(task_id).wait().save(folder, overwrite=True)


def work(store: sqlite3.Connection, banana: NanoBanana, folder: Path) -> None:
    """Finish every open task; one that cannot be finished now stays open."""
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
    """Run one of the two commands."""
    with contextlib.closing(open_store(path)) as store, NanoBanana() as banana:
        if command == "add":
            add(store, banana, argument)
        else:
            work(store, banana, Path(argument))


if __name__ == "__main__":
    main(*sys.argv[1:])
