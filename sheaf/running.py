"""Running one step for one partition: what would be made the same is left, the rest is made and committed.

This is the protocol of `docs/publishing.md`, first half. Here: looking whether there is anything to do,
the lease, the account, what is refused because it would lose something, the commit. Not here: the
work itself (`sheaf/<domain>/`), nor what an export may read (`sheaf/coherence.py`).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sheaf import activity, clock, memory
from sheaf.coherence import pin
from sheaf.errors import InputError, StoppedError
from sheaf.report import Report
from sheaf.sources import Looked, Sources
from sheaf.steps import Check, Domain, Step
from sheaf.store.lease import Holder, lease
from sheaf.store.scratch import scratch_folder
from sheaf.store.store import Store
from sheaf.tables import generations, rejects
from sheaf.tables.accounts import REJECTS_FILE, Account, Kind
from sheaf.tables.generations import Generation, MadeWith, Place, TableFile, Verdict
from sheaf.tables.parquet import write_parquet
from sheaf.tables.pinned import Tables
from sheaf.tables.rejects import Rejects
from sheaf.tables.table import Table
from sheaf.tables.work import Work, describe, together

READABLE = "readable"
REJECTS = "rejects"
MOST_REJECTED = 0.05
"""Share of rejected rows from which somebody should look."""

READING_CHECKS = {
    READABLE: "The delivery could be used.",
    REJECTS: "At most one row in twenty was rejected.",
}
"""The checks that every domain makes of what it reads."""


@dataclass(frozen=True)
class Made:
    """What came of a step: a new generation, or the one that would be made the same."""

    generation: Generation
    unchanged: bool
    report: Report


@dataclass(frozen=True)
class How:
    """How a step is run.

    Attributes:
        accept_loss: commit also what replaces stored rows by less, or has nothing usable of what is needed.
        again: do it even where the same would be made.
        run_id: the Dagster run that does it.
        waiting: told who does the same at the moment.
        cancelled: asked by long steps, and before anything is committed, whether to stop.
    """

    accept_loss: bool = False
    again: bool = False
    run_id: str | None = None
    waiting: Callable[[Holder], None] = lambda _: None
    cancelled: Callable[[], bool] = lambda: False


def run_step(
    store: Store,
    domain: Domain,
    step: Step,
    partition: str,
    settings: BaseModel,
    sources: Sources,
    how: How | None = None,
) -> Made:
    """Do one step of one partition, unless it would make what is there.

    A delivery that cannot be used, or that would replace stored rows by less, makes a generation that is
    a refusal: `generation.refused` says why, and the tables before it stay.

    Args:
        settings: those of the domain.
        sources: where the first step reads from.

    Raises:
        NotFoundError: no source has the partition, or a step before was never made.
        StaleError: a step before has to be made again first.
        SourceError: the source cannot be asked.
    """
    running = _Running(store, domain, step, partition, settings, sources, how or How())
    while True:
        if made := running.look():
            return made
        with lease(store, f"{domain.name}/{partition}", step.name, running.how.waiting):
            if made := running.make():
                return made


def unchanged(
    store: Store, domain: Domain, step: Step, partition: str, settings: BaseModel, sources: Sources
) -> Made | None:
    """The newest generation of a step, if it is known without any work that it would be made the same."""
    return _Running(store, domain, step, partition, settings, sources, How()).look()


@dataclass(frozen=True)
class _Running:
    """One call of `run_step`."""

    store: Store
    domain: Domain
    step: Step
    partition: str
    settings: BaseModel
    sources: Sources
    how: How

    @property
    def place(self) -> Place:
        return self.domain.place(self.step, self.partition)

    def look(self) -> Made | None:
        """The newest generation, if it is known without reading anything that it would be made the same."""
        newest = generations.newest(self.store, self.place)
        if newest is None:
            return None
        if self.step.work:
            return self._same(newest, self._made_with(self._inputs()))
        delivery = self.sources.known(self.domain.name, self.store, self.place.folder, self.partition)
        return self._same(newest, self._made_with(delivery=delivery)) if delivery else None

    def make(self) -> Made | None:
        """Do the work and commit it, unless who held the lease before did; None when somebody else has committed."""
        number = generations.next_number(self.store, self.place)
        newest = generations.newest(self.store, self.place)
        with ExitStack() as stack:
            scratch = stack.enter_context(scratch_folder(self.store))
            if self.step.work:
                inputs = self._inputs()
                made_with, source, read = self._made_with(inputs), None, self.step.work
                if newest and (same := self._same(newest, made_with)):
                    return same
            else:
                inputs = Tables(self.store, self.partition, {})
                folder = scratch / "delivery"
                folder.mkdir()
                before = Looked.kept(self.store, self.place.folder)
                owner = before.source if before else None
                deliver = self.sources.deliver(self.domain.name, self.store, self.partition, folder, owner)
                found, looked, delivery = stack.enter_context(deliver)
                made_with, source, read = self._made_with(delivery=delivery.name), found, delivery.read
                looked.keep(self.store, self.place.folder)
                if newest and (same := self._same(newest, made_with)):
                    return same
            return self._work(number, newest, inputs, made_with, source, read, scratch)

    def _work(
        self,
        number: int,
        newest: Generation | None,
        inputs: Tables,
        made_with: MadeWith,
        source: str | None,
        read: Callable[[Work], Report],
        scratch: Path,
    ) -> Made | None:
        before = generations.current(self.store, self.place)
        work = Work(
            tables=inputs,
            settings=self.step.own_settings(self.settings, self.partition),
            scratch=scratch,
            rejects=Rejects(scratch),
            before=None if before is None or self.how.again else self._alike(before, made_with),
            cancelled=self.how.cancelled,
        )
        report, refused = Report(), None
        try:
            report = read(work)
        except InputError as error:
            refused = str(error)
        tables = {table.name: work.tables.file(table) for table in self.step.writes if table.name in work.files}
        account = work.rejects.accounts({name: file.rows for name, file in tables.items()})
        if not (refused or self.how.accept_loss):
            refused = unusable(self.step, account)
            if before and not refused:
                refused = loss(self.domain, self.step, self.partition, before.tables, tables, account)
        verdicts = self._verdicts(work.tables, report, account, refused)
        old = self._old_tables() if before is None and self.step.work is None and not refused else []
        if old:
            line = f"{len(old)} tables of an earlier Sheaf are removed: they were made anew from the source."
            report = replace(report, warnings=(*report.warnings, line))
        if refused:
            tables, report = {}, replace(report, preview=(), plots=dict)
        files = dict(work.files)
        if work.rejects:
            local = scratch / "all-rejects.parquet"
            rows = write_parquet(local, rejects.schema(), work.rejects.batches())
            tables[REJECTS_FILE] = together([describe(local, rows)])
            files[REJECTS_FILE] = {tables[REJECTS_FILE].sha256: local}
        generation = Generation(
            domain=self.domain.name,
            step=self.step.name,
            partition=self.partition,
            number=number,
            made_at=clock.now(),
            run_id=self.how.run_id,
            made_with=made_with,
            source=source,
            generations={name: found.number for name, found in inputs.generations.items()},
            tables=tables,
            refused=refused,
            account=account,
            counts=dict(report.counts),
            warnings=list(report.warnings),
            checks=verdicts,
        )
        if self.how.cancelled():  # a library may have made a bad row, or a refusal, of the interrupt
            raise StoppedError(f"{self.step.name} of {self.partition} was stopped; what was there before stays.")
        committed = generations.commit(self.store, self.place, generation, files, before)
        memory.give_back()  # what one partition needed is not kept for the next
        if committed is None:
            return None
        if refused:
            activity.log(self.store, "delivery refused", f"{self.domain.name}/{self.partition}", "sheaf", refused)
        generations.sweep(self.store, self.place)
        self.store.delete(old)
        return Made(committed, unchanged=False, report=report)

    def _old_tables(self) -> list[str]:
        """What a store from before generations holds of the partition: one object for each table."""
        partition = f"{self.domain.kind}={self.partition}"
        names = [*(table.name for _, table in self.domain.tables()), "rejects", "corrections"]
        old = [f"tables/{self.domain.name}/{name}/{partition}/data.parquet" for name in names]
        old += [item.path for item in self.store.list(f"tables/{self.domain.name}/snapshots/{partition}")]
        return [path for path in old if self.store.size(path) is not None]

    def _alike(self, before: Generation, made_with: MadeWith) -> Tables | None:
        """What was made before, where only the delivery differs and all of it is there."""
        today = made_with.model_copy(update={"delivery": before.made_with.delivery})
        if before.made_with != today or any(self.store.size(part.path) != part.size for part in before.parts):
            return None
        return Tables(self.store, self.partition, {self.step.name: before})

    def _made_with(self, inputs: Tables | None = None, delivery: str | None = None) -> MadeWith:
        read = {table.name: inputs.file(table).sha256 for table in self.step.reads} if inputs else {}
        return MadeWith(
            delivery=delivery,
            inputs=read,
            code=self.step.version,
            settings=self.step.settings_values(self.settings, self.partition),
        )

    def _inputs(self) -> Tables:
        """What the step reads, as one set; where the newest delivery was refused, the last good one."""
        reads, settings = self.step.reads, self.settings
        return pin(self.store, self.domain, self.partition, reads, settings, in_spite_of_refusal=True)

    def _same(self, newest: Generation, made_with: MadeWith) -> Made | None:
        accepted = newest.refused is not None and self.how.accept_loss
        if newest.made_with != made_with or accepted or self.how.again:
            return None
        report = Report(counts=newest.counts, warnings=tuple(newest.warnings))
        return Made(newest, unchanged=True, report=report)

    def _verdicts(
        self, tables: Tables, report: Report, account: Sequence[Account], refused: str | None
    ) -> dict[str, Verdict]:
        own = self.step.own_settings(self.settings, self.partition)
        found = {}
        if self.step.work is None:
            # What was refused before it was read to the end adds up to nothing.
            half = not all(of.adds_up for of in account)
            rejected = not_checked(refused) if refused and half else rejected_share(account)
            found = {READABLE: Verdict(passed=refused is None, detail=refused or ""), REJECTS: rejected}
        for check in self.step.checks:
            found[check.name] = not_checked(refused) if refused else _judge(check, tables, report, own)
        return found


def not_checked(why: str) -> Verdict:
    """The verdict of a check that could not look: what cannot be known counts as bad."""
    return Verdict(passed=False, detail=f"Not checked: {why}")


def _judge(check: Check, tables: Tables, report: Report, settings: Any) -> Verdict:
    try:
        return check.judge(tables, report, settings)
    except Exception as error:  # a check that fails is red; the step it looks at is not lost with it
        return not_checked(f"{type(error).__name__}: {error}")


def rejected_share(account: Sequence[Account]) -> Verdict:
    """At most one row in twenty may be rejected before somebody should look."""
    wrong = [of.table for of in account if not of.adds_up]
    if wrong:
        return Verdict(passed=False, detail=f"The account of {', '.join(wrong)} does not add up: report this defect.")
    # Each table for itself: a million good sensor points do not make up for eight lost samples.
    shares = [(of.rejected / of.seen, of) for of in account if of.rejected]
    seen, rejected = sum(of.seen for of in account), sum(of.rejected for of in account)
    if not seen:
        return not_checked("no row was counted.")
    if not shares:
        return Verdict(passed=True, detail=f"none of {seen} rows rejected")
    share, worst = max(shares, key=lambda found: found[0])
    detail = f"{rejected} of {seen} rows rejected, of {worst.table} {worst.rejected} of {worst.seen} ({share:.1%})"
    return Verdict(passed=share <= MOST_REJECTED, detail=detail)


def unusable(step: Step, account: Sequence[Account]) -> str | None:
    """Why a delivery is worth nothing: no row of what is needed was used, and most of them were rejected."""
    needed = {table.name: table.needed for table in step.writes if table.needed}
    for word in dict.fromkeys(needed.values()):
        of = [found for found in account if needed.get(found.table) == word]
        rejected = sum(found.rejected for found in of)
        if rejected > sum(sum(found.left_out.values()) for found in of) and not any(found.used for found in of):
            reasons = (reason for found in of for reason in found.reasons if reason.kind is Kind.REJECT)
            return f"All {rejected} {word} were rejected: {next(reasons).reason}"
    return None


def loss(
    domain: Domain,
    step: Step,
    partition: str,
    before: dict[str, TableFile],
    after: dict[str, TableFile],
    account: Sequence[Account],
) -> str | None:
    """What stored rows would be replaced by less, as a sentence that says how to accept it; None for none."""
    lost = [found for table in step.writes if (found := _lost(table, before, after, account))]
    if not lost:
        return None
    return (
        f"This would replace stored rows by less ({'; '.join(lost)}). Nothing was changed; if that is meant, "
        f"run `sheaf run {domain.name} {partition} --accept-loss`."
    )


def _lost(table: Table, before: dict[str, TableFile], after: dict[str, TableFile], account: Sequence[Account]) -> str:
    had = before[table.name].rows if table.name in before else 0
    has = after[table.name].rows if table.name in after else 0
    if (had and not has and not table.may_be_empty) or (has < had and table.only_grows):
        return f"{table.name}: {had} → {has}{_why_rejected(table, account)}"
    return ""


def _why_rejected(table: Table, account: Sequence[Account]) -> str:
    """How many rows of a table were rejected, with the commonest reason."""
    for of in account:
        for reason in of.reasons:
            if of.table == table.name and reason.kind is Kind.REJECT:
                return f", {of.rejected} rejected: {reason.reason}"
    return ""
