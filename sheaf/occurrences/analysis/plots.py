"""Pictures of a season for the run page: when and where occurrences were seen, and of which taxa.

Not here: counting for a report (`build`), how a figure is made and kept small (`figures`).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sheaf import figures

if TYPE_CHECKING:
    import duckdb
    from matplotlib.figure import Figure

_TOP = 15
_STATIONS = 8  # more lines than this cannot be told apart


def season_plots(database: "duckdb.DuckDBPyConnection") -> Callable[[], dict[str, bytes]]:
    """What draws the tables `occurrences` and `deployment`; nothing for a project without occurrences."""
    nights = database.execute(
        f"""WITH station AS (SELECT deployment_name, count(*) AS n FROM occurrences GROUP BY 1
            ORDER BY n DESC, 1 LIMIT {_STATIONS})
        SELECT coalesce(deployment_name, 'no station'), event_start::DATE, count(*) FROM occurrences
        WHERE event_start IS NOT NULL AND deployment_name IN (SELECT deployment_name FROM station)
        GROUP BY 1, 2 ORDER BY 1, 2"""
    ).fetchall()
    top = database.execute(
        f"""SELECT determination_name, count(*), count(*) FILTER (verified) FROM occurrences
        GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_TOP}"""
    ).fetchall()
    places = database.execute(
        """SELECT d.name, d.longitude, d.latitude, count(o.id) FROM deployment d
        LEFT JOIN occurrences o ON o.deployment_id = d.id WHERE d.latitude IS NOT NULL
        GROUP BY d.id, 1, 2, 3 ORDER BY d.id"""
    ).fetchall()
    drawn = (("Season", _season, nights), ("Top taxa", _top_taxa, top), ("Stations", _stations, places))
    return lambda: {title: draw(rows) for title, draw, rows in drawn if rows}


def _figure(width: float, height: float) -> tuple["Figure", Any]:
    figure = figures.figure(width, height)
    return figure, figure.subplots()


def _season(nights: list[tuple[Any, ...]]) -> bytes:
    figure, axes = _figure(7, 3)
    for station in sorted({row[0] for row in nights}):
        rows = [row for row in nights if row[0] == station]
        axes.plot([row[1] for row in rows], [row[2] for row in rows], marker=".", label=figures.label(station))
    axes.set_ylabel("occurrences per session")
    axes.legend(fontsize="small", frameon=False)
    axes.tick_params(axis="x", labelrotation=30)
    return figures.png(figure)


def _top_taxa(top: list[tuple[Any, ...]]) -> bytes:
    figure, axes = _figure(7, 0.7 + 0.25 * len(top))
    names = [figures.label(row[0]) for row in reversed(top)]
    places = range(len(names))
    axes.barh(places, [row[1] for row in reversed(top)], color="#c5d3e2", label="all")
    axes.barh(places, [row[2] for row in reversed(top)], color="#2f5d8a", label="verified")
    axes.set_yticks(places, names, fontsize="small")
    axes.set_xlabel("occurrences")
    axes.legend(fontsize="small", frameon=False, loc="lower right")
    return figures.png(figure)


def _stations(places: list[tuple[Any, ...]]) -> bytes:
    figure, axes = _figure(4.5, 4)
    most = max(row[3] for row in places) or 1
    axes.scatter([row[1] for row in places], [row[2] for row in places], s=[20 + 200 * row[3] / most for row in places])
    for name, longitude, latitude, count in places[:_STATIONS]:
        axes.annotate(
            f"{figures.label(name)} ({count})", (longitude, latitude), xytext=(6, 6), textcoords="offset points"
        )
    axes.set_xlabel("longitude [°]")
    axes.set_ylabel("latitude [°]")
    axes.margins(0.25)
    return figures.png(figure)
