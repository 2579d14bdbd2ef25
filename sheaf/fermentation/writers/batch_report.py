"""`batch_{n}_phase_{p}_report.md`: the batch as a laboratory notebook page, with plots beside it.

The page is line for line the specification's, and before its end tells the yields, with standard errors, and the
constants that the plots follow from, where there are sensor data; then what the checks found, and which rows were not
used, changed or doubted. Its header lines end in two spaces, so that they stay
lines when rendered; free text is escaped so that it cannot break a table or start a heading.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sheaf.errors import VerificationError
from sheaf.exports.series import Draft, Written
from sheaf.fermentation import schema
from sheaf.fermentation.analysis.plots import gas_plot, growth_plot, growth_rate_plot
from sheaf.fermentation.writers.names import export_name, provisional
from sheaf.tables.accounts import Kind
from sheaf.tables.generations import Generation
from sheaf.tables.table import Table

Row = Mapping[str, Any]

_LEVELS = {1: "🟡", 2: "🟠", 3: "🔴"}
_HARD_BREAK = "  "


def write_batch_report(draft: Draft) -> Written:
    """Write the report page and its pictures."""

    def read(table: Table) -> list[dict[str, Any]]:
        return draft.tables.read(table).to_pylist()

    batch = read(schema.BATCHES)[0]
    samples = read(schema.SAMPLES)
    lines = [
        *_header(batch),
        *_calibrations(read(schema.CALIBRATIONS)),
        *_inoculation(next(iter(read(schema.INOCULATIONS)), None)),
        *_samples(samples),
        *_failures(read(schema.FAILURES)),
        *_closure(next(iter(read(schema.CLOSURES)), None)),
        *(_yields(read(schema.YIELDS)[0]) if draft.tables.rows(schema.FEATURES) else ()),
        *(_constants(draft.made_with, _volume(draft)) if draft.tables.rows(schema.FEATURES) else ()),
        *_checks(draft.tables.generations.values()),
        *_not_as_delivered(draft.partition, draft.tables.generations.values()),
        "---",
        "",
        f"*Exported: {_minute(draft.now)} UTC*",
    ]
    name = export_name(batch)
    page = f"{name}_report.md"
    (draft.folder / page).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    plots = _write_plots(draft, name, samples)
    return Written(
        record_count=len(samples),
        counts={"samples": len(samples), "plots": plots},
        warnings=tuple(provisional(batch)),
    )


def _volume(draft: Draft) -> float | None:
    """Liquid in the first window of the run; None without one."""
    for row in draft.tables.read(schema.FEATURES, ["in_run", "volume_l"]).to_pylist():
        if row["in_run"] and row["volume_l"] is not None:
            return row["volume_l"]
    return None


def _write_plots(draft: Draft, name: str, samples: Sequence[Row]) -> int:
    if draft.preview:
        return 0
    features = draft.tables.read(schema.FEATURES)
    plots = {"growth": growth_plot(samples, features)}
    if features.num_rows:
        plots |= {"growth_rate": growth_rate_plot(features), "gas_exchange": gas_plot(features)}
    for title, png in plots.items():
        (draft.folder / f"{name}_{title}.png").write_bytes(png)
    return len(plots)


def _header(batch: Row) -> Iterator[str]:
    yield f"# Batch #{batch['batch_number']} - Phase {batch['phase']}"
    yield ""
    yield f"**Vessel:** {_line(batch['vessel_id'])}{_HARD_BREAK}"
    yield f"**Operator:** {_line(batch['operator_id'])}{_HARD_BREAK}"
    yield f"**Status:** {batch['status']}{_HARD_BREAK}"
    yield f"**Created:** {_minute(batch['created_at'])}{_HARD_BREAK}"
    start, end = batch["inoculated_at"], batch["completed_at"]
    if start is not None:
        yield f"**Inoculated:** {_minute(start)}{_HARD_BREAK}"
    if end is not None:
        runtime = "" if start is None else f" ({(end - start) / timedelta(hours=1):.1f}h runtime)"
        yield f"**Completed:** {_minute(end)}{runtime}{_HARD_BREAK}"
    if batch["notes"]:
        yield from ("", f"**Notes:** {_line(batch['notes'])}")
    yield from ("", "---", "")


def _calibrations(calibrations: Sequence[Row]) -> Iterator[str]:
    yield from ("## Pre-Run Calibrations", "")
    if not calibrations:
        yield from ("*No calibration records*", "")
        return
    yield "| Probe | Buffer Low | Buffer High | Reading Low | Reading High | Slope % | Pass |"
    yield "|-------|-----------|-------------|-------------|--------------|---------|------|"
    for row in calibrations:
        values = [
            _reading(row["probe_type"], row[key])
            for key in ("buffer_low_value", "buffer_high_value", "reading_low", "reading_high")
        ]
        verdict = "✅ PASS" if row["pass"] else "❌ FAIL"
        yield _cells(row["probe_type"], *values, _number(row["slope_percent"], ".1f", "%"), verdict)
    yield ""


def _inoculation(inoculation: Row | None) -> Iterator[str]:
    yield from ("## Inoculation", "")
    if inoculation is None:
        yield from ("*Not yet inoculated*", "")
        return
    yield f"- **Cryo Vial:** {_line(inoculation['inoculum_source'])}"
    yield f"- **Inoculum OD₆₀₀:** {_number(inoculation['inoculum_od600'], '.2f')}"
    yield f"- **Volume:** {_number(inoculation['inoculum_volume_ml'], '.1f', ' mL')}"
    yield f"- **GO Decision:** {'✅ GO' if inoculation['go_decision'] else '❌ NO-GO'}"
    if inoculation["microscopy_observations"]:
        yield f"- **Microscopy:** {_line(inoculation['microscopy_observations'])}"
    yield f"- **Inoculated by:** {_line(inoculation['inoculated_by'])}"
    yield ""


def _samples(samples: Sequence[Row]) -> Iterator[str]:
    yield from ("## Sample Observations", "")
    if not samples:
        yield from ("*No samples yet*", "")
        return
    yield "| Time (h) | OD₆₀₀ (raw) | Dilution | OD₆₀₀ (calc) | DCW (g/L) | Contamination | Sampled By |"
    yield "|----------|-------------|----------|--------------|-----------|---------------|------------|"
    contamination = {True: "⚠️ YES", False: "✅ No", None: "-"}
    for row in samples:
        yield _cells(
            _number(row["timepoint_hours"], ".1f"),
            _number(row["od600_raw"], ".3f"),
            _number(row["od600_dilution_factor"], ".1f", "×"),
            _number(row["od600_calculated"], ".2f"),
            _number(row["dcw_g_per_l"], ".2f"),
            contamination[row["contamination_detected"]],
            _line(row["sampled_by"]),
        )
    yield from ("", f"**Total samples:** {len(samples)}", "")


def _failures(failures: Sequence[Row]) -> Iterator[str]:
    if not failures:
        return
    yield from ("## Failures & Deviations", "")
    for row in failures:
        level = row["deviation_level"]
        yield f"### {_LEVELS.get(level, '⚪')} Level {level} - {_line(row['category'])}"
        yield ""
        yield f"**Description:** {_line(row['description'])}"
        if row["root_cause"]:
            yield f"**Root Cause:** {_line(row['root_cause'])}"
        if row["corrective_action"]:
            yield f"**Corrective Action:** {_line(row['corrective_action'])}"
        yield f"**Reported by:** {_line(row['reported_by'])}"
        yield ""


def _closure(closure: Row | None) -> Iterator[str]:
    if closure is None:
        return
    yield from ("## Batch Closure", "")
    yield f"- **Final OD₆₀₀:** {_number(closure['final_od600'], '.2f')}"
    yield f"- **Total Runtime:** {_number(closure['total_runtime_hours'], '.1f', ' hours')}"
    yield f"- **Glycerol Depletion:** {_number(closure['glycerol_depletion_time_hours'], '.1f', ' h')}"
    yield f"- **DO Spike Observed:** {({True: 'Yes', False: 'No', None: '-'})[closure['do_spike_observed']]}"
    yield f"- **Outcome:** {closure['outcome']}"
    yield f"- **Closed by:** {_line(closure['closed_by'])}"
    yield f"- **Approved by:** {_line(closure['approved_by'])}"
    if closure["notes"]:
        yield from ("", f"**Final Notes:** {_line(closure['notes'])}")
    yield ""


_YIELDS = {  # column: what it is, its unit, and the digits to show
    "biomass_g": ("Biomass formed", "g", ".2f"),
    "substrate_g": ("Substrate used up", "g", ".2f"),
    "O2_mol": ("Oxygen taken up", "mol", ".3f"),
    "CO2_mol": ("Carbon dioxide evolved", "mol", ".3f"),
    "base_ml": ("Base added", "mL", ".1f"),
    "feed_ml": ("Feed added", "mL", ".1f"),
    "Y_XS": ("Y_XS", "g/g", ".3f"),
    "Y_XO": ("Y_XO", "g/mol", ".2f"),
    "qS_mean": ("Mean qS", "g/g/h", ".4f"),
    "qO2_mean": ("Mean qO2", "mol/g/h", ".5f"),
    "qCO2_mean": ("Mean qCO2", "mol/g/h", ".5f"),
}


def _yields(row: Row) -> Iterator[str]:
    yield from ("## Yields", "")
    for name, (what, unit, digits) in _YIELDS.items():
        error = row.get(f"{name}_se")
        told = "" if error is None else f" ± {error:{digits}}"
        if row[name] is not None:
            yield f"- **{what}:** {row[name]:{digits}}{told} {unit}"
    if row["validity"]:
        yield f"- Not known: {row['validity']}"
    yield ""


_CONSTANTS = {  # constant: what it is, and its unit
    "molar_volume_l": ("molar volume", "L/mol"),
    "gas_flow": ("gas flows are", ""),
    "reference_pressure_bar": ("reference pressure", "bar"),
    "inlet_o2_percent": ("inlet oxygen", "% v/v"),
    "inlet_co2_percent": ("inlet carbon dioxide", "% v/v"),
    "saturation_mg_per_l": ("dissolved oxygen at saturation", "mg/L"),
    "biomass_g_per_l_per_od": ("biomass per in-situ OD", "g/L/AU"),
}
_SETTINGS = {
    "offgas_baseline": ("off-gas baseline", ""),
    "min_our_for_rq": ("smallest OUR for RQ", "mol/L/h"),
    "mu_minutes": ("length of the µ regression", "min"),
}


def _constants(made_with: Mapping[str, Any], volume: float | None) -> Iterator[str]:
    yield from ("## Constants", "")
    plan = made_with["plan"]
    if volume is not None:
        yield f"- liquid at inoculation {volume:.3g} L"
    for name, (what, unit) in _CONSTANTS.items():
        own = made_with.get(name)
        yield f"- {what} {_constant(plan['constants'][name] if own is None else own)} {unit}".rstrip()
    for name, (what, unit) in _SETTINGS.items():
        yield f"- {what} {_constant(made_with[name])} {unit}".rstrip()
    yield ""


def _constant(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _checks(generations: Iterable[Generation]) -> Iterator[str]:
    found = [(name, verdict) for one in generations for name, verdict in one.checks.items()]
    if found:
        yield from ("## Checks", "")
        for name, verdict in found:
            mark = "✅" if verdict.passed else "❌"
            yield f"- {mark} **{name.replace('_', ' ')}:** {_line(verdict.detail or 'good')}"
        yield ""


_BECAME = {Kind.REJECT: "not used", Kind.CHANGE: "changed", Kind.FAULT: "used with a fault"}


def _not_as_delivered(partition: str, generations: Iterable[Generation]) -> Iterator[str]:
    """What became of rows with which something was wrong; the lines of the files are in `sheaf rejects`."""
    accounts = [account for one in generations for account in one.account]
    found = [(account, reason) for account in accounts for reason in account.reasons]
    if not found:
        return
    yield from ("## Rows Rejected, Changed or Doubted", "")
    yield "| Table | What | Rows | Of | Code | First reason |"
    yield "|-------|------|------|----|------|--------------|"
    for account, reason in found:
        became = _BECAME[reason.kind]
        yield _cells(account.table, became, str(reason.rows), str(account.seen), reason.code, _line(reason.reason))
    yield from ("", f"Each with file and line: `sheaf rejects fermentation {partition} --all`", "")


def _cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, shape: str, unit: str = "") -> str:
    """Zero is a value; only None is `-`."""
    return "-" if value is None else f"{value:{shape}}{unit}"


def _reading(probe: str, value: float | None) -> str:
    """Two decimals for pH; other probes as they were recorded, with at least one."""
    if value is None:
        return "-"
    return f"{value:.2f}" if probe == "pH" else str(value)


def _minute(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%d %H:%M}"


_SPECIAL = re.compile(r"([\\|`*\[\]<])")


def _line(text: str | None) -> str:
    """Free text on one line, with what Markdown would take for a cell, emphasis, link or tag escaped."""
    return "-" if text is None else _SPECIAL.sub(r"\\\1", " ".join(text.split()))


_HEADINGS = ("## Pre-Run Calibrations", "## Inoculation", "## Sample Observations")
_FOOTER = re.compile(r"\*Exported: \d{4}-\d{2}-\d{2} \d{2}:\d{2} UTC\*\n")


def verify_batch_report(folder: Path, written: Written) -> None:
    """Read the page back: headings in order, one table row for each sample, footer, whole pictures.

    Raises:
        VerificationError: something is missing.
    """
    pages = list(folder.glob("*_report.md"))
    if len(pages) != 1:
        raise VerificationError(f"There are {len(pages)} report pages instead of one.")
    text = pages[0].read_bytes().decode("utf-8")
    lines = text.split("\n")
    if "\r" in text or not lines[0].startswith("# Batch #"):
        raise VerificationError(f"{pages[0].name} does not start with its heading, or has carriage returns.")
    found = [line for line in lines if line in _HEADINGS]
    if tuple(found) != _HEADINGS:
        raise VerificationError(f"{pages[0].name} has not the three headings in their order.")
    if not _FOOTER.fullmatch(lines[-2] + "\n"):
        raise VerificationError(f"{pages[0].name} does not end with the export time.")
    section = text.split("## Sample Observations", 1)[1].split("\n## ", 1)[0].split("\n---", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][1:]
    # A bar that is not escaped would be a further cell.
    if len(rows) != written.record_count or any(len(re.findall(r"(?<!\\)\|", row)) != 8 for row in rows):
        raise VerificationError(f"{pages[0].name} has not one table row for each of {written.record_count} samples.")
    pictures = list(folder.glob("*.png"))
    if len(pictures) != written.counts["plots"]:
        raise VerificationError(f"There are {len(pictures)} pictures instead of {written.counts['plots']}.")
    for picture in pictures:
        if not picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"):
            raise VerificationError(f"{picture.name} is no PNG picture.")
