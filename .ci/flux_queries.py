"""Print every shape of Flux that Sheaf can produce, hostile names included, as JSON for `.ci/check_flux`."""

import itertools
import json
from datetime import UTC, datetime, timedelta

from sheaf.fermentation.settings import FermentationSettings
from sheaf.fermentation.source_settings import InfluxSettings
from sheaf.fermentation.sources.influx_queries import Selection, flux_count, flux_points, flux_probe, flux_values

NAMES = (
    "vessel1",
    "V-FR-01",
    'a "quoted" name',
    "back\\slash",
    "${1 + 1}",
    "two\nlines",
    "a/b",
    "o'clock",
    "Gärröhre",
    "",
)
START = datetime(2025, 10, 21, 9, 30, tzinfo=UTC)
LAYOUTS = (
    {},
    {"measurement": "bioprocess", "sensor_tag": "topic", "vessel_tag": "topic"},
    {"measurement": "bio process", "sensor_tag": "sensor"},
    {"measurement": "bioreactor"},
)


def main() -> None:
    """All layouts, with every name in every place."""
    sensors = list(FermentationSettings().names())
    queries = []
    for layout, name in itertools.product(LAYOUTS, NAMES):
        settings = InfluxSettings(
            kind="influx2",
            url="http://host",
            bucket=name or "b",
            fields=("_value", name or "v"),
            vessels={"V": name},
            **layout,
        )
        chosen = Selection(name, START, START + timedelta(hours=27.123456), [*sensors, name])
        queries += [flux_points(settings, chosen), flux_count(settings, chosen), flux_probe(settings)]
        queries += [flux_values(settings, name or "vessel", START)]
    print(json.dumps(queries))


main()
