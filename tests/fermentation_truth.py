"""How far what is published of a simulated batch is from its truth."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
from fermentation_inbox import all_steps, rows_of
from simulated_fermentations import HOLD, KINDS, PLAN, readings, record, simulate, write_sensors

from sheaf.fermentation import schema
from sheaf.fermentation.settings import FermentationSettings
from sheaf.store.store import Store


def distances(store: Store, folder: Path, number: int, kind: str) -> dict[str, list[float]]:
    """Differences between published and true values, in their standard errors."""
    rng = np.random.default_rng([number, KINDS.index(kind)])
    batch = simulate(rng, fed=number % 5 == 0)
    folder.mkdir(parents=True)
    (folder / "batch.json").write_text(json.dumps(record(batch, number, rng)))
    write_sensors(folder / "sensors.parquet", readings(batch, kind, rng))
    hold = HOLD if kind == "on_change" else {}
    made = all_steps(store, folder, folder.name, FermentationSettings.model_validate({"plan": PLAN, "hold_s": hold}))
    assert made["training_samples"].generation.refused is None
    found: dict[str, list[float]] = {}

    def compare(name: str, value: float | None, truth: float, error: float | None) -> None:
        if value is not None:
            found.setdefault(name, []).append((value - truth) / (error or np.nan))

    for row in rows_of(store, schema.TRAINING_SAMPLES, folder.name):
        for name in ("mu", "OUR", "CER"):
            if row[f"{name}_age_s"] is not None:
                moment = row["sampled_at"] - timedelta(seconds=row[f"{name}_age_s"] + 15)
                compare(name, row[name], batch.at(name, moment), row[f"{name}_se"])
    features = [row for row in rows_of(store, schema.FEATURES, folder.name) if row["in_run"]]
    for row in features[:: len(features) // 20]:
        moment = row["window_end"] - timedelta(seconds=15)
        compare("volume_l", row["volume_l"], batch.at("volume_l", moment), 0.02 * row["volume_l"])
        for name in ("O2_mol", "CO2_mol"):
            compare(name, row[name], batch.at(name, moment), row[f"{name}_se"])
    (row,) = rows_of(store, schema.YIELDS, folder.name)
    compare("Y_XS", row["Y_XS"], batch.y_xs, row["Y_XS_se"])
    compare("Y_XO", row["Y_XO"], batch.y_xo, row["Y_XO_se"])
    assert len(rows_of(store, schema.FEED_EVENTS, folder.name)) == (3 if number % 5 == 0 else 0)
    return found
