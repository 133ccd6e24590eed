"""The ledger's statements, built once: building one takes longer than executing it."""

from __future__ import annotations

import sqlalchemy as sql

from ._schema import submissions

ADVISORY_LOCK = sql.select(sql.func.pg_advisory_xact_lock(0x6E616E6F))
"""Makes PostgreSQL's transactions take turns; any number that no other program uses."""

AT_ONCE = 10_000
"""How many submissions a statement changes at most: a statement may take only so long."""


class Statements:
    """The statements for one kind of database, with the parameters `of_key` and `of_claim`."""

    def __init__(self, *, is_sqlite: bool) -> None:
        # On a server, its own clock: those of the machines may disagree.
        now = (
            sql.func.wall()
            if is_sqlite
            else sql.cast(sql.extract("epoch", sql.func.clock_timestamp()), sql.Double)
        )
        has_key = submissions.c.key == sql.bindparam("of_key")
        has_claim = submissions.c.claim == sql.bindparam("of_claim")
        columns = (submissions, now.label("now"))
        is_charged = submissions.c.state.in_(("accepted", "claimed", "in doubt"))

        order = (submissions.c.claimed_at, submissions.c.key, submissions.c.attempt)
        self.oldest_first = sql.select(*columns).order_by(*order)
        self.newest_first = sql.select(*columns).order_by(*(each.desc() for each in order))
        last_first = sql.select(*columns).where(has_key).order_by(submissions.c.attempt.desc())
        self.latest = last_first.limit(1)
        self.locked = last_first.with_for_update()
        """All of a key; on a server, nobody else changes them until the transaction ends."""
        has_task = submissions.c.task_id == sql.bindparam("of_task")
        self.of_task = self.oldest_first.where(has_task)
        self.of_claim = sql.select(*columns).where(has_claim)
        self.charges = sql.select(sql.func.count()).where(is_charged)
        self.charged = (
            sql.select(sql.literal(1))
            .select_from(submissions)
            .where(is_charged)
            .limit(sql.bindparam("at_most"))
        )
        self.claim = (
            sql.insert(submissions)
            .values(claimed_at=now, ends_at=now + sql.bindparam("seconds"))
            .returning(*columns)
        )
        self.update = sql.update(submissions).where(has_claim)
        has_account = submissions.c.account == sql.bindparam("of_account")
        some = sql.select(submissions.c.claim).where(has_account).limit(AT_ONCE)
        self.replace_account = sql.update(submissions).where(submissions.c.claim.in_(some))
        task_id: sql.BindParameter[str] = sql.bindparam("task_id")
        self.accept = self.update.values(
            state="accepted",
            task_id=task_id,
            reason=None,
            # Of another task, which a person may have settled it with, nothing is kept.
            **{
                name: sql.case((submissions.c.task_id == task_id, submissions.c[name]))
                for name in ("status", "result", "file", "file_size")
            },
        )
        self.doubt = self.update.where(submissions.c.task_id.is_(None)).values(state="in doubt")
        self.free = sql.delete(submissions).where(has_claim, submissions.c.task_id.is_(None))
