"""A campaign whose truth is known, seen through instruments of five kinds: published values lie within their errors."""

import numpy as np
import pytest
from fermentation_truth import distances
from simulated_fermentations import KINDS

from sheaf.store.store import Store

CAMPAIGN = [(number, KINDS[number % 5]) for number in range(10)]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, list[float]]]:
    """The distances of ten batches, by instrument and value."""
    root = tmp_path_factory.mktemp("truth")
    store = Store.open(str(root / "store"))
    found: dict[str, dict[str, list[float]]] = {kind: {} for kind in KINDS}
    for number, kind in CAMPAIGN:
        for name, values in distances(store, root / f"batch-{number}", number, kind).items():
            found[kind].setdefault(name, []).extend(values)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_published_values_lie_within_their_own_errors(campaign, kind):
    found = campaign[kind]
    assert set(found) == {"mu", "OUR", "CER", "volume_l", "O2_mol", "CO2_mol", "Y_XS", "Y_XO"}
    for name, values in found.items():
        assert np.isfinite(values).all(), name
        assert np.max(np.abs(values)) < 4, (name, np.round(values, 1))


def test_errors_are_no_larger_than_they_have_to_be(campaign):
    """Errors that are stated ten times too large would hold anything."""
    for name in ("mu", "OUR", "CER", "O2_mol", "Y_XS", "Y_XO"):
        all_values = [value for found in campaign.values() for value in found.get(name, [])]
        assert np.sqrt(np.mean(np.square(all_values))) > 0.2, name
