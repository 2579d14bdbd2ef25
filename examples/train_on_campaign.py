"""Train a small model of dry cell weight on the campaign's newest export, and test it on the hold-out.

Usage: python examples/train_on_campaign.py STORE     (a local store, such as .sheaf/store after `sheaf demo`)

The training set is `campaign_parquet/latest`: eligible samples of the phases that train. It is judged twice: on each of
its batches by a model that has not seen that batch, and on the batches of the hold-out, read from their own
`training_parquet/latest` when the model is done. Two baselines stand beside it: the mean of the training set, and the
plan's biomass per in-situ OD. Needs scikit-learn and pandas.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = ["pH", "DO", "temp", "OD", "CER", "OUR"]
LABEL = "dcw_g_per_l"
PLAN_G_PER_L_PER_OD = 0.4


def newest(store: Path, series: str, name: str) -> pd.DataFrame:
    """A file of the newest complete version of a series, such as `campaign/campaign_parquet`."""
    latest = json.loads((store / "exports/fermentation" / series / "latest.json").read_text())
    return pd.read_parquet(store / latest["path"] / name)


def training_set(store: Path) -> pd.DataFrame:
    """Samples to learn from; a hold-out batch among them, as `include=all` has them, is refused."""
    samples = newest(store, "campaign/campaign_parquet", "all_batches_training_data.parquet")
    if (samples["split"] != "train").any() or not samples["eligible"].all():
        raise SystemExit("This export holds the hold-out or samples that are not eligible: take the canonical one.")
    return samples.dropna(subset=[LABEL]).reset_index(drop=True)


def holdout(store: Path, trained_on: set[str]) -> pd.DataFrame:
    """Eligible samples of the batches that test a model; none of a batch that it has seen."""
    found = []
    for latest in sorted((store / "exports/fermentation").glob("*/training_parquet/latest.json")):
        samples = newest(store, f"{latest.parts[-3]}/training_parquet", "training_samples.parquet")
        keep = (samples["split"] == "holdout") & samples["eligible"] & samples[LABEL].notna()
        found.append(samples[keep & ~samples["batch_id"].isin(trained_on)])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=[*FEATURES, LABEL])


def model() -> Pipeline:
    """A linear model; a dozen samples carry no more."""
    return make_pipeline(StandardScaler(), RidgeCV(np.logspace(-4, 2, 13)))


def rmse(predicted: Any, truth: pd.Series) -> float:
    """Root mean square error, g/L."""
    return float(np.sqrt(np.mean((np.asarray(predicted) - truth.to_numpy()) ** 2)))


def main(store: Path) -> dict[str, Any]:
    """Train, test, and print the errors as JSON."""
    train = training_set(store)
    if train["batch_id"].nunique() < 2:
        raise SystemExit("Fewer than two batches are eligible for training: sheaf why fermentation BATCH says why.")
    unseen = cross_val_predict(model(), train[FEATURES], train[LABEL], groups=train["batch_id"], cv=LeaveOneGroupOut())
    fitted = model().fit(train[FEATURES], train[LABEL])
    test = holdout(store, set(train["batch_id"]))
    mean = float(train[LABEL].mean())

    def errors(samples: pd.DataFrame, predicted: Any) -> dict[str, float]:
        return {
            "mean": rmse(np.full(len(samples), mean), samples[LABEL]),
            "plan": rmse(PLAN_G_PER_L_PER_OD * samples["OD"], samples[LABEL]),
            "model": rmse(predicted, samples[LABEL]),
        }

    result: dict[str, Any] = {
        "training": {"batches": int(train["batch_id"].nunique()), "samples": len(train)},
        "rmse_g_per_l": {"left_out_batches": errors(train, unseen)},
    }
    if len(test):
        result["holdout"] = {"batches": int(test["batch_id"].nunique()), "samples": len(test)}
        result["rmse_g_per_l"]["holdout"] = errors(test, fitted.predict(test[FEATURES]))
    return result


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    print(json.dumps(main(Path(sys.argv[1])), indent=2))
