"""The series `season_html`: a season on one page: where, when, and what.

A map of the stations, activity by hour and by date, how many taxa were known by when, and a table of the taxa; without
scripts, map tiles or anything else to load. Shown are the same rows as in every series, sensitive places as their
cells. Not here: choosing occurrences (`selection`), counting taxa (`taxa_csv`).
"""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sheaf.errors import VerificationError
from sheaf.exports import pages
from sheaf.exports.series import Draft, Written
from sheaf.occurrences import schema
from sheaf.occurrences.input_tables import DATE_ONLY
from sheaf.occurrences.writers.selection import remarks, select
from sheaf.occurrences.writers.taxa_csv import SOURCE

if TYPE_CHECKING:
    from sheaf.occurrences.writers.selection import Selection

_WIDTH, _HIGH, _LEFT = 760, 120, 40
_MOST_DAYS = 366  # more than this are drawn as months
_MOST_TAXA = 1000
_SMALLEST = 0.01  # degrees: a single station is drawn in about a kilometre
_KM_PER_DEGREE = 111.32
_SECTIONS = ("map", "hours", "dates", "accumulation", "taxa")
_DAY = "coalesce(first_appearance, event_start)::DATE"


def write_season(draft: Draft) -> Written:
    """Write `{slug}_export-v{n}.html`."""
    with select(draft, [schema.DEPLOYMENTS]) as chosen:
        chosen.database.execute("CREATE VIEW seen AS SELECT * FROM chosen WHERE is_taxon")
        ((occurrences, timed, dated, taxa, left_out),) = chosen.rows(
            f"""SELECT count(*) FILTER (is_taxon),
                count(*) FILTER (is_taxon AND first_appearance IS NOT NULL
                    AND first_offset IS DISTINCT FROM {DATE_ONLY}),
                count(*) FILTER (is_taxon AND {_DAY} IS NOT NULL),
                count(DISTINCT scientific_name) FILTER (is_taxon), count(*) FILTER (NOT is_taxon) FROM chosen"""
        )
        path = draft.folder / f"{chosen.dataset['slug']}_export-v{draft.version}.html"
        days = chosen.rows(f"SELECT {_DAY} AS day, count(*) FROM seen WHERE day IS NOT NULL GROUP BY 1 ORDER BY 1")
        stations = _stations(chosen)
        listed = chosen.rows(
            f"""SELECT scientific_name, coalesce(common_name, ''), lower(rank), occurrences, verified, first, last,
                peak, coalesce(stations, 0) FROM ({SOURCE})
                ORDER BY occurrences DESC, scientific_name LIMIT {_MOST_TAXA}"""
        )
        page = pages.render(
            Path(__file__).with_name("season_html.html.j2"),
            title=chosen.dataset["title"],
            width=_WIDTH,
            high=_HIGH,
            left=_LEFT,
            first=days[0][0] if days else None,
            last=days[-1][0] if days else None,
            counts={"occurrences": occurrences, "taxa": taxa, "stations": len(stations)},
            map=_map([one for one in stations if one[1] is not None]),
            unplaced=sum(one[1] is None for one in stations),
            hours=_hours(chosen),
            untimed=occurrences - timed,
            dates=_dates(days),
            undated=occurrences - dated,
            accumulation=_accumulation(chosen),
            taxa=listed,
            more_taxa=max(taxa - len(listed), 0),
        )
    path.write_text(page, encoding="utf-8")
    warnings = [f"{left_out} occurrences are people or no taxa and are not counted."] if left_out else []
    counts = {"taxa": taxa, "stations": len(stations)}
    return Written(occurrences, {}, counts, (*warnings, *remarks(draft)))


def verify_season(folder: Path, written: Written) -> None:
    """Parse the page: all its sections, nothing that is loaded from elsewhere.

    Raises:
        VerificationError: naming what is wrong.
    """
    (path,) = folder.glob("*.html")
    found = tuple(pages.sections(path))
    if found != _SECTIONS:
        raise VerificationError(f"{path.name} has the sections {', '.join(found)}.")


def _stations(chosen: "Selection") -> list[tuple[Any, ...]]:
    """Name, latitude, longitude, whether only a cell is told, and occurrences of the stations where something was."""
    return chosen.rows(
        """SELECT d.name, d.latitude, d.longitude, d.sensitive, count(*) FROM seen s
        JOIN deployments d ON d.id = s.deployment_id GROUP BY d.id, d.name, d.latitude, d.longitude, d.sensitive
        ORDER BY count(*) DESC, d.id"""
    )


def _map(stations: Sequence[tuple[Any, ...]]) -> dict[str, Any] | None:
    """Where to draw them, north up and true to scale in the middle of the map; None without a place."""
    if not stations:
        return None
    longitudes = [one[2] for one in stations]
    if max(longitudes) - min(longitudes) > 180:  # across the date line
        longitudes = [of % 360 for of in longitudes]
    latitudes = [one[1] for one in stations]
    south, west = min(latitudes), min(longitudes)
    tall, wide = max(max(latitudes) - south, _SMALLEST), max(max(longitudes) - west, _SMALLEST)
    shrink = max(math.cos(math.radians(south + tall / 2)), 0.01)  # of a degree of longitude beside one of latitude
    scale = min((_WIDTH - 80) / (wide * shrink), 400 / tall)
    most = max(one[4] for one in stations)
    dots = [
        {
            "x": f"{40 + (longitude - west) * shrink * scale:.1f}",
            "y": f"{20 + (south + tall - latitude) * scale:.1f}",
            "r": f"{3 + 9 * math.sqrt(count / most):.1f}",
            "kind": "cell" if hidden else "dot",
            "said": f"{name}: {count}" + (", shown within a cell" if hidden else ""),
            "name": name[:24],
            "side": "end" if 40 + (longitude - west) * shrink * scale > _WIDTH / 2 else "start",  # within the frame
        }
        for (name, latitude, _, hidden, count), longitude in zip(stations, longitudes, strict=True)
    ]
    km = 10 ** math.floor(math.log10((_WIDTH - 80) / scale * _KM_PER_DEGREE / 3))
    return {
        "dots": dots,
        "named": len(dots) <= 30,
        "height": f"{60 + tall * scale:.0f}",
        "bar": f"{km / _KM_PER_DEGREE * scale:.1f}",
        "bar_y": f"{48 + tall * scale:.0f}",
        "km": f"{km:g} km",
    }


def _bars(counts: Sequence[tuple[str, int]]) -> list[dict[str, str]]:
    """A bar for each count, side by side over the whole width."""
    most, step = max((count for _, count in counts), default=0) or 1, (_WIDTH - _LEFT) / max(len(counts), 1)
    return [
        {
            "x": f"{_LEFT + place * step:.1f}",
            "y": f"{_HIGH * (1 - count / most):.1f}",
            "width": f"{max(step - 1, 0.5):.1f}",
            "height": f"{_HIGH * count / most:.1f}",
            "said": f"{name}: {count}",
        }
        for place, (name, count) in enumerate(counts)
        if count
    ]


def _hours(chosen: "Selection") -> dict[str, Any] | None:
    """Occurrences by the hour of the station's clock; those of which only the date is known have none."""
    found = dict(
        chosen.rows(
            f"""SELECT hour(first_appearance), count(*) FROM seen
            WHERE first_appearance IS NOT NULL AND first_offset IS DISTINCT FROM {DATE_ONLY} GROUP BY 1"""
        )
    )
    if not found:
        return None
    return {"bars": _bars([(f"{hour:02}:00", found.get(hour, 0)) for hour in range(24)]), "most": max(found.values())}


def _dates(days: Sequence[tuple[date, int]]) -> dict[str, Any] | None:
    if not days:
        return None
    first, last, found = days[0][0], days[-1][0], dict(days)
    if (last - first).days < _MOST_DAYS:
        spans = [(first + timedelta(of)) for of in range((last - first).days + 1)]
        counts, each = [(str(day), found.get(day, 0)) for day in spans], "day"
    else:
        months: dict[str, int] = {}
        for month in range(first.year * 12 + first.month - 1, last.year * 12 + last.month):
            months[f"{month // 12}-{month % 12 + 1:02}"] = 0
        for day, count in days:
            months[f"{day:%Y-%m}"] += count
        counts, each = list(months.items()), "month"
    most = max(count for _, count in counts)
    return {"bars": _bars(counts), "most": most, "each": each, "first": counts[0][0], "last": counts[-1][0]}


def _accumulation(chosen: "Selection") -> dict[str, Any] | None:
    """How many taxa had been found by each day, as the points of a line."""
    found = chosen.rows(
        f"""SELECT day, count(*) FROM (SELECT scientific_name, min({_DAY}) AS day FROM seen GROUP BY 1)
        WHERE day IS NOT NULL GROUP BY 1 ORDER BY 1"""
    )
    if not found:
        return None
    ((last,),) = chosen.rows(f"SELECT max({_DAY}) FROM seen")
    total, span = sum(count for _, count in found), max((last - found[0][0]).days, 1)
    points, known = [], 0
    for day, count in found:
        x = _LEFT + (_WIDTH - _LEFT) * (day - found[0][0]).days / span
        points += [(x, known), (x, known + count)]
        known += count
    points.append((_WIDTH, known))
    line = " ".join(f"{x:.1f},{_HIGH * (1 - of / total):.1f}" for x, of in points)
    return {"line": line, "most": total, "first": found[0][0], "last": last}
