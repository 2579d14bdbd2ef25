"""A setting holds from the next export on: until the step that reads it has run again, nothing is published."""

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from occurrences_inbox import (
    SETTINGS,
    Row,
    Tables,
    archive,
    content,
    detection,
    export,
    made,
    project,
    put,
    tsv,
)
from pydantic import ValidationError

from sheaf.attention import Kind, needs
from sheaf.errors import StaleError, VerificationError
from sheaf.exports.outcome import delete
from sheaf.exports.publish import Request, preview, publish
from sheaf.names import ExportId, SeriesId
from sheaf.occurrences.domain import BUILDING, OCCURRENCES, READING
from sheaf.occurrences.settings import OccurrencesSettings, ProjectSettings
from sheaf.store.store import Store

BEFORE = SETTINGS.model_copy(update={"licence": "CC-BY-4.0", "sensitive_taxa": ("Geometridae",)})
CHANGES: dict[str, tuple[Any, str]] = {  # the new value, and what some export then says
    "title": ("Moths at night", "<title>Moths at night<"),
    "protocol": ("light trap with camera", "light trap with camera"),
    "protocol_description": ("A lit screen is photographed.", "A lit screen is photographed."),
    "sampling_design": ("systematicRandom", '"samplingDesign": "systematicRandom"'),
    "capture_method": (("timeLapse",), '"timeLapse"'),
    "taxonomic_scope": ("Heterocera", "Heterocera"),
    "time_zone": ("Asia/Kolkata", "+05:30"),
    "not_taxa": (("Animalia",), "1 occurrences are not in the archive: names that are no taxa"),
    "people": (("Kobold",), "1 occurrences are not in the archive: people"),
    "contacts": (({"name": "Ola Wing", "email": "ola@museum.example"},), "ola@museum.example"),
    "licence": ("CC0-1.0", "publicdomain/zero/1.0"),
    "rights_holder": ("The Museum", "The Museum"),
    "publisher": ("Moth Society", "Moth Society"),
    "contact_name": ("Grace Lens", "Grace Lens"),
    "contact_email": ("data@museum.example", "data@museum.example"),
    "api_url": ("https://antenna.example/api/v2", "https://antenna.example/api/v2/occurrences/10/"),
    "media_url": ("https://media.example/", "https://media.example/crops/102.jpg"),
    "country_code": ("CH", "\tCH\t"),
    "country_codes": ({"Wood": "DE"}, "\tDE\t"),
    "coordinate_uncertainty_m": (1000.0, "\t34687\t"),
    "sensitive_taxa": (("Noctua",), "Coordinates are the centre"),
    "sensitive_cell_degrees": (0.5, "a cell of 0.5 degrees"),
}


def without_own_words() -> Tables:
    """A project that leaves all to the settings."""
    given = project()
    given["main_project"][0] |= {"license": "", "rights_holder": "", "owner_id": None}
    given["main_detection"].append(detection(102, 11, 2, path="crops/102.jpg", source_image_id=3))
    wood = {**given["main_sourceimage"][0], "id": 3, "deployment_id": 2, "event_id": 2}
    given["main_sourceimage"].append(wood)
    given["main_taxon"].append({"id": 6, "name": "Geometridae", "rank": "FAMILY", "parents_json": []})
    given["main_event"].append({**given["main_event"][0], "id": 2, "deployment_id": 2})
    given["main_deployment"].append({**given["main_deployment"][0], "id": 2, "name": "Wood", "latitude": 48.0})
    given["main_taxon"].append({"id": 7, "name": "Kobold", "rank": "UNKNOWN", "parents_json": []})
    for number, taxon in enumerate((1, 7), 11):
        given["main_occurrence"].append({**given["main_occurrence"][0], "id": number, "event_id": 2,
                                         "deployment_id": 2, "determination_id": taxon})  # fmt: skip
        given["main_detection"].append(detection(number, number, 1, source_image_id=3 if taxon == 1 else 1))
    return given


def changed(*names: str) -> OccurrencesSettings:
    values = BEFORE.model_dump() | {name: CHANGES[name][0] for name in names}
    return OccurrencesSettings.model_validate(values)


def everything(store: Store, settings: OccurrencesSettings) -> tuple[str, list[Row]]:
    """The text of all exports, and what their manifests say about the settings."""
    found = [export(store, name, settings=settings) for name in ("occurrences_simple_csv", "occurrences_api_json")]
    found.append(export(store, "dwca", options={"profile": "gbif"}, settings=settings))
    texts = [content(store, one).decode() for one in found[:2]]
    texts += archive(store, "gbif", settings=settings).values()
    texts += found[2].manifest.warnings
    package = zipfile.ZipFile(io.BytesIO(content(store, export(store, "camtrap_dp", settings=settings))))
    texts.append(package.read("datapackage.json").decode())
    return "\n".join(texts), [one.manifest.made_with for one in found]


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """A store with a project that was made with the settings of before; only to be read."""
    root = tmp_path_factory.mktemp("before")
    store, folder = Store.open(str(root / "store")), put(root / "p1", without_own_words())
    made(store, folder, BEFORE)
    return store, folder


def test_every_setting_that_is_looked_at_is_tried_here() -> None:
    assert set(BUILDING.settings) == set(CHANGES)
    assert set(READING.settings) - set(CHANGES) == {"source_time_zone"}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_setting_stops_every_export(before: tuple[Store, Path], name: str) -> None:
    store, _ = before
    step = "records" if name in READING.settings else "occurrences"
    for series in OCCURRENCES.series:
        for ask in (publish, preview):
            with pytest.raises(StaleError, match=rf"{step} has to be made again \({name} was .* and is "):
                ask(store, OCCURRENCES, series, Request("p1", always=True), changed(name))


def test_what_no_step_looks_at_stops_nothing(before: tuple[Store, Path]) -> None:
    store, _ = before
    settings = BEFORE.model_copy(update={"operators": ("me",), "schemas": Path("nowhere")})
    for series in OCCURRENCES.series[:2]:
        assert preview(store, OCCURRENCES, series, Request("p1"), settings).record_count == 3


def test_every_changed_setting_reaches_the_exports(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", without_own_words())
    made(local_store, folder, BEFORE)
    text, made_with = everything(local_store, BEFORE)
    settings = changed(*CHANGES)
    for name, (_, shown) in CHANGES.items():
        assert shown not in text, name
        assert all(of[name] == BEFORE.model_dump(mode="json")[name] for of in made_with)
    again = made(local_store, folder, settings)
    assert (again["records"].unchanged, again["occurrences"].unchanged) == (False, False)
    kept = made(local_store, folder, settings.model_copy(update={"title": "Moths by day"}))
    assert (kept["records"].unchanged, kept["occurrences"].unchanged) == (True, False)
    made(local_store, folder, settings)
    text, made_with = everything(local_store, settings)
    for name, (_, shown) in CHANGES.items():
        assert shown in text, name
        assert all(of[name] == settings.model_dump(mode="json")[name] for of in made_with)


@pytest.mark.case("core/sensitive-taxa-setting-not-applied")
def test_a_place_is_hidden_from_the_next_export_on(tmp_path: Path, local_store: Store) -> None:
    """Each night's job publishes the tables as they are: it must not go on with the exact place."""
    folder = put(tmp_path / "p1", project())
    made(local_store, folder)
    exact = archive(local_store, "gbif")
    assert tsv(exact["event.txt"])[0]["decimalLatitude"] == "47.3921"
    settings = SETTINGS.model_copy(update={"sensitive_taxa": ("Noctua pronuba",)})
    versions = len(list(local_store.list("exports")))
    for always in (False, True):
        for series in OCCURRENCES.series:
            with pytest.raises(StaleError, match=r"sensitive_taxa was empty and is .*Noctua pronuba.*sheaf run occ"):
                publish(local_store, OCCURRENCES, series, Request("p1", always=always), settings)
    assert len(list(local_store.list("exports"))) == versions
    made(local_store, folder, settings)
    files = archive(local_store, "gbif", settings=settings)
    assert "47.39" not in "".join(files.values())
    assert (tsv(files["event.txt"])[0]["decimalLatitude"], tsv(files["event.txt"])[0]["locality"]) == (
        "47.35",
        "Station 1",
    )
    manifest = export(local_store, "dwca", options={"profile": "gbif"}, settings=settings).manifest
    assert manifest.made_with["sensitive_taxa"] == ["Noctua pronuba"]
    (need,) = needs(local_store, [OCCURRENCES])  # what was published before is still there
    assert (need.kind, need.subject) == (Kind.EXPOSED, "occurrences/p1/dwca")
    assert need.what == "v1 may show what is hidden now: made without sensitive_taxa Noctua pronuba"
    assert need.todo.endswith("`sheaf delete occurrences/p1/dwca/v1`")
    delete(local_store, ExportId(SeriesId("occurrences", "p1", "dwca"), 1), "me")
    assert needs(local_store, [OCCURRENCES]) == []


@pytest.mark.case("occurrences/foxes-as-insects")
def test_what_is_set_for_one_project_holds_for_it_alone(tmp_path: Path, local_store: Store) -> None:
    folder = put(tmp_path / "p1", project())
    own = {"title": "Moths of one project", "canonical": {"dwca": {"profile": "gbif"}}}
    settings = OccurrencesSettings.model_validate({"title": "All", "projects": {"p1": own, "p2": {"title": "Other"}}})
    made(local_store, folder, settings)
    published = publish(local_store, OCCURRENCES, OCCURRENCES.series_named("dwca"), Request("p1"), settings)
    assert (published.manifest.canonical, published.manifest.options) == (True, {"profile": "gbif"})
    assert "<title>Moths of one project<" in archive(local_store, settings=settings)["eml.xml"]
    other = settings.model_copy(update={"projects": settings.projects | {"p2": ProjectSettings(title="New")}})
    assert publish(local_store, OCCURRENCES, OCCURRENCES.series_named("dwca"), Request("p1"), other).unchanged


SCHEMA = """<schema xmlns="http://www.w3.org/2001/XMLSchema" targetNamespace="{}"><element name="{}"/></schema>"""
TEXT, EML = "http://rs.tdwg.org/dwc/text/", "https://eml.ecoinformatics.org/eml-2.2.0"


@pytest.mark.parametrize("profile", ["spec", "gbif"])
def test_archives_keep_to_the_schemas_that_are_configured(
    tmp_path: Path, before: tuple[Store, Path], profile: str
) -> None:
    """These schemas know the name of the root only: what is tested is that they are asked."""
    store, _ = before
    settings = BEFORE.model_copy(update={"schemas": tmp_path})
    (tmp_path / "tdwg_dwc_text.xsd").write_text(SCHEMA.format(TEXT, "archive"))
    of_metadata = tmp_path / "eml-gbif-profile/1.3/eml.xsd"
    of_metadata.parent.mkdir(parents=True)
    of_metadata.write_text(SCHEMA.format(EML, "eml"))
    assert export(store, "dwca", options={"profile": profile}, settings=settings).manifest.record_count == 3
    of_metadata.write_text(SCHEMA.format(EML, "metadata"))
    with pytest.raises(VerificationError, match=r"eml\.xml, line 2"):
        export(store, "dwca", options={"profile": profile}, settings=settings)


def test_texts_are_taken_as_people_write_them() -> None:
    read = OccurrencesSettings.model_validate(
        {"title": 2024, "time_zone": " europe/oslo ", "sensitive_taxa": [2435240]}
    )
    assert (read.title, read.time_zone, read.sensitive_taxa) == ("2024", "Europe/Oslo", (2435240,))
    with pytest.raises(ValidationError, match="such as Europe/Oslo"):
        OccurrencesSettings.model_validate({"time_zone": "Oslo"})
