"""What an export is made from: the tables of one partition, or of all for a campaign, pinned as one set.

Here: which generations those are, and what the manifest tells of them. Not here: writing (`publish`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sheaf.coherence import pin, refusal
from sheaf.errors import InputError, NotFoundError, RefusedError
from sheaf.exports.options import Options
from sheaf.exports.records import Input, Manifest, Origin, Problem
from sheaf.exports.series import Series, made_with
from sheaf.names import CAMPAIGN
from sheaf.steps import Domain
from sheaf.store.store import Store
from sheaf.tables import generations
from sheaf.tables.accounts import Account, rejected_lines
from sheaf.tables.pinned import Tables
from sheaf.tables.table import Table

_MOST_LINES = 10


@dataclass(frozen=True)
class MadeFrom:
    """The pinned tables of each partition, and what there is to say about those that are not as they should be."""

    domain: Domain
    members: Mapping[str, Tables]
    remarks: tuple[str, ...] = ()

    def inputs(self, tables: Sequence[Table]) -> list[Input]:
        """The tables that are read, with their data versions."""
        return [
            Input(
                table=table.name,
                partition=partition,
                rows=file.rows,
                sha256=file.sha256,
                step=step.name,
                generation=pinned.generations[step.name].number,
            )
            for table in tables
            for step in [self.domain.writer(table)]
            for partition, pinned in self.members.items()
            for file in [pinned.file(table)]
        ]

    def origins(self) -> list[Origin]:
        """Which delivery and generations each partition contributes."""
        reading = self.domain.reading.name
        found = []
        for partition, pinned in self.members.items():
            read = pinned.generations.get(reading)
            found.append(
                Origin(
                    partition=partition,
                    source=read.source if read else None,
                    delivery=read.made_with.delivery if read else None,
                    generations={name: generation.number for name, generation in pinned.generations.items()},
                )
            )
        return found

    def settings(self) -> dict[str, Any]:
        """The settings with which the tables were made."""
        return made_with(self.members.values())

    def code(self) -> dict[str, int]:
        """The version of each step, by its name."""
        return {
            name: generation.made_with.code
            for pinned in self.members.values()
            for name, generation in pinned.generations.items()
        }

    def accounts(self) -> dict[str, list[Account]]:
        """What became of the delivered rows, by partition."""
        return {
            partition: [account for generation in pinned.generations.values() for account in generation.account]
            for partition, pinned in self.members.items()
        }

    def problems(self) -> list[Problem]:
        """The checks that did not pass."""
        return [
            Problem(partition=partition, step=step, check=name, detail=verdict.detail)
            for partition, pinned in self.members.items()
            for step, generation in pinned.generations.items()
            for name, verdict in generation.checks.items()
            if not verdict.passed
        ]

    def warnings(self) -> list[str]:
        """What a reader should know about the records behind the export."""
        lines = []
        for partition, accounts in self.accounts().items():
            before = f"{partition}: " if partition != CAMPAIGN and len(self.members) > 1 else ""
            lines += [before + line for line in rejected_lines(self.domain.name, partition, accounts)]
        if len(lines) > _MOST_LINES:
            lines = [*lines[:_MOST_LINES], f"{len(lines) - _MOST_LINES} more partitions have rejected rows."]
        return [*self.remarks, *lines]


def made_from(
    store: Store,
    domain: Domain,
    series: Series,
    partition: str,
    filter_: Options,
    options: Options,
    settings: BaseModel,
) -> MadeFrom:
    """Pin what an export is made from.

    Raises:
        RefusedError: the partition's newest delivery was refused.
        StaleError: tables do not belong together; in a campaign, those of any partition.
        NotFoundError: a step that is needed was never made.
        InputError: there is no partition at all for a campaign.
    """
    if series.campaign:
        return _campaign(store, domain, series, settings)
    if series.as_of:
        states = _states(store, domain, partition, series.tables)
        if chosen := series.as_of(states, filter_, options):
            return MadeFrom(domain, {partition: chosen})
    return MadeFrom(domain, {partition: pin(store, domain, partition, series.tables, settings)})


def _states(store: Store, domain: Domain, partition: str, tables: Sequence[Table]) -> Iterator[Tables]:
    reading = domain.reading
    for generation in generations.history(store, domain.place(reading, partition)):
        if generation.refused is None:
            yield Tables(store, partition, {reading.name: generation}, tables)


def _campaign(store: Store, domain: Domain, series: Series, settings: BaseModel) -> MadeFrom:
    members, remarks = {}, []
    for partition in generations.partitions(store, domain.name, domain.reading.name, domain.kind):
        refused = None
        try:
            try:
                members[partition] = pin(store, domain, partition, series.tables, settings)
            except RefusedError:
                refused = refusal(store, domain, partition, domain.needed_for(series.tables))
                members[partition] = pin(store, domain, partition, series.tables, settings, in_spite_of_refusal=True)
        except NotFoundError as error:
            remarks.append(f"{partition} is left out: {refused.refused if refused else error}")
            continue
        if refused:
            remarks.append(f"{partition}: its newest delivery was refused, so its last good records are used.")
    if not members:
        raise InputError(f"There is nothing to publish as {domain.name}/{CAMPAIGN}/{series.name} yet.")
    return MadeFrom(domain, members, tuple(remarks))


def kept_tables(store: Store, domain: Domain, manifest: Manifest) -> dict[str, Tables]:
    """The tables that an export was made from, by partition.

    Raises:
        NotFoundError: they are gone, or the export is of an earlier Sheaf, which did not note them.
    """
    if not manifest.made_from:
        raise NotFoundError(f"{manifest.export} is of an earlier Sheaf, which did not keep what it was made from.")
    members = {}
    for origin in manifest.made_from:
        found = {}
        for name, number in origin.generations.items():
            try:
                found[name] = generations.read(store, domain.place(domain.step_named(name), origin.partition), number)
            except NotFoundError as error:
                raise NotFoundError(f"{manifest.export} was made from tables that are gone: {error}") from error
        members[origin.partition] = Tables(store, origin.partition, found)
    return members
