"""What a determination says: a taxon, with how sure, or something that is no taxon, such as `Empty` or a person.

Here: names as people and programs write them. Not here: which occurrences have them (`build`).

Qualifiers follow Darwin Core: `scientificName` is the name at the lowest rank that could be determined, and what is
said beyond it is `identificationQualifier` (https://dwc.tdwg.org/terms/#dwc:identificationQualifier).
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sheaf.errors import SheafError
from sheaf.outside.yaml_files import read_yaml

_VOCABULARY = Path(__file__).with_name("not_taxa.yaml")
_PEOPLE = "people"
_PEOPLE_WITHIN = "people_within"
_WORDS_ALONE = {
    *("sin", "pas", "test", "end", "start", "other"),
    *("man", "auto", "tom", "mens", "na", "nan"),
}
_OF_PICTURES = {  # what may follow the word that tells: `Empty frame`
    *("image", "images", "photo", "photos", "picture", "pictures", "frame", "frames", "video", "videos", "sequence"),
    *("trigger", "triggers", "shot", "shots", "movement", "moving", "only", "and", "or", "bild", "foto", "fotos"),
}
_HEAD_ENDS = re.compile(r"[:;,/|(\[]|\s[-–—]\s")
_POSSESSIVE = re.compile(r"\w+['’]s\b")
_BELOW_GENUS = {"SPECIES", "SUBSPECIES", "VARIETY", "FORM", "UNKNOWN"}
_GROUPS = {"animal": ("Animalia", "KINGDOM"), "animals": ("Animalia", "KINGDOM")}  # what detectors call them
_HIGHER = {  # what cameras see, without an ending that tells
    **dict.fromkeys(
        ("Mammalia", "Aves", "Reptilia", "Amphibia", "Actinopterygii", "Insecta", "Arachnida", "Malacostraca",
         "Gastropoda", "Diplopoda", "Chilopoda", "Collembola"), "CLASS"),
    **dict.fromkeys(
        ("Carnivora", "Rodentia", "Artiodactyla", "Cetartiodactyla", "Perissodactyla", "Lagomorpha", "Primates",
         "Chiroptera", "Eulipotyphla", "Soricomorpha", "Didelphimorphia", "Diprotodontia", "Squamata", "Testudines",
         "Anura", "Lepidoptera", "Coleoptera", "Diptera", "Hymenoptera", "Hemiptera", "Trichoptera", "Neuroptera",
         "Orthoptera", "Odonata", "Ephemeroptera", "Plecoptera", "Araneae", "Opiliones"), "ORDER"),
    **dict.fromkeys(("Chordata", "Arthropoda", "Mollusca", "Annelida"), "PHYLUM"),
    **dict.fromkeys(("Animalia", "Plantae", "Fungi"), "KINGDOM"),
}  # fmt: skip
_ENDINGS = {"iformes": "ORDER", "oidea": "SUPERFAMILY", "idae": "FAMILY", "inae": "SUBFAMILY", "aceae": "FAMILY"}
_CONFER = re.compile(
    r"(?i)(?:^|\s)(?:(?:cf|aff|nr|conf|prope)\.(?=\s*\S)|(?:cf|aff|nr|conf|prope|near|affinis|confer)\s+(?=\S))"
)
_OTHER = r"(?:[A-Z][a-z]*\.?\s)?[a-z-]+"
_DOUBTED = re.compile(rf"\s(?:\?\s*[a-z]|[a-z-]+(?:\s?/\s?{_OTHER})+(?:\sagg\.?)?$)")  # ?pronuba, pronuba/comes
_EITHER = re.compile(r"([A-Z][a-z-]+)\s([a-z-]+\sor\s(?:\1|[A-Z][a-z]?\.)\s[a-z-]+)")  # Rattus rattus or R. norvegicus
_SAID_LAST = re.compile(r"(?i)(.+)\s(\S+\s(?:cf|aff|nr)\.?)")  # pronuba cf.
_BIN = re.compile(r"(?:^|\s)BOLD:[A-Z]{3}\d{4}$")
_NOTHING_KNOWN = re.compile(r"(?i)(?:indet|spp?|gen)\.?")
_LABEL = re.compile(r"[A-Z][a-z]+(?:_[a-z-]+){1,2}")  # as programs write names
_SPECIES = re.compile(r"(?i)\s+((?:n\.\s*)?(?:sp|spp|spec|species|indet|gen)\b\.?(?:\s*\S.*)?|s(?:ub)?sp\.?)$")
_WIDELY = re.compile(
    r"(?i)(?:\s+|(?<=[a-z])-(?=group$))"
    r"(agg\.?|aggregate|(?:species[ -])?(?:complex|group)|s\.\s*l(?:at)?\.?|s\.\s*str\.?|sensu lat[ou]|sensu stricto)$"
)
_ATTACHED = re.compile(r"\S+ \S+ [×✕](?=[a-z])")
_GENERIC_CROSS = re.compile(r"^[xX+✕]\s+(?=[A-Z][a-z])")
_PARTICLE = r"(?:de|du|des|da|dos|del|della|van|von|vom|zu|zur|der|den|la|le|el|ter|ten|ex|in|et|and|hort|auct)\b"
_EPITHET = rf"(?!{_PARTICLE}|(?:cf|aff|nr|conf|prope|or)\b)(?:[×✕]\s?)?[a-zß-öø-ÿ]['a-zß-öø-ÿ-]+(?=\s|$)"
_MARKERS = {"ssp": "SUBSPECIES", "subsp": "SUBSPECIES", "var": "VARIETY", "f": "FORM", "forma": "FORM", "form": "FORM"}
_MARKER = re.compile(r" (?:notho)?(ssp|subsp|var|f|forma|form)\.? [a-z]")
_MARKED = rf"(?:notho)?(?:ssp|subsp|subvar|var|f|forma|form)\b\.?\s+{_EPITHET}"
_AUTHOR = rf"\(?(?:[A-ZÀ-ÖØ-ÞŒŠŞŽÇ]|{_PARTICLE}\.?\s|d'[A-Z]).*"
_GENUS = r"(?:[×✕]\s?)?[A-Z][a-zß-öø-ÿ-]+"
_SPECIES_AUTHORED = re.compile(
    rf"({_GENUS}(?:\s\([A-Z][a-z-]+\))?\s{_EPITHET}(?:\s{_EPITHET}(?!\.))*(?:\s{_MARKED})?)\s+({_AUTHOR})"
)
_MARKED_LATER = re.compile(rf"\s({_MARKED})(?:\s+({_AUTHOR}))?$")
_GENUS_AUTHORED = re.compile(
    rf"({_GENUS})\s+(?!\([A-Z][a-z-]+\)\s[a-z])({_AUTHOR})"
)  # only with what no English name has
_LINKED = re.compile(r"(?i)\b(?:with|and|or|on|in|mit|und|auf|avec|et|sur|con|y|com|e|med|och|og|z|i)\b")
_SURELY_AUTHOR = re.compile(r"\d{4}|[(&,.]")
VIRUS = r"(?i)\b(?:[a-z]*virus(?:es)?|viroid|[a-z]*phage)\b"
"""Names of these are no binomials, whatever they look like; a pattern that Python and DuckDB read."""
_CROSS = re.compile(r"\s+[×xX✕]\s+|\s*[×✕]\s*")


@dataclass(frozen=True)
class Name:
    """A determination, understood.

    Attributes:
        scientific: the name at the lowest rank that was determined; empty where it is no taxon.
        rank: of that name, in capitals; `UNKNOWN` where nobody can tell.
        qualifier: what is said beyond it, such as `cf. pronuba`; empty where nothing is.
        person: whether it is a human being, whose pictures are nobody's business.
        authorship: who gave the name, where that was written with it.
    """

    scientific: str
    rank: str
    qualifier: str = ""
    person: bool = False
    authorship: str = ""

    @property
    def is_taxon(self) -> bool:
        """Whether it names an organism."""
        return bool(self.scientific)


def understand(
    name: str, rank: str, parents: Sequence[tuple[str, str]], own: "Mapping[str, str] | None" = None
) -> Name:
    """What a name means.

    Args:
        name: as it was written.
        rank: of the taxon, in capitals.
        parents: name and rank of its ancestors, from the root.
        own: further names that are no taxa, with their kind; see `vocabulary`.

    Example:
        >>> understand("Noctua cf. pronuba", "SPECIES", [])
        Name(scientific='Noctua', rank='GENUS', qualifier='cf. pronuba', person=False, authorship='')
        >>> understand("Vehicle: car", "UNKNOWN", []).is_taxon
        False
    """
    words = own if own is not None else vocabulary()
    rank = rank or "UNKNOWN"
    text = " ".join(name.split())
    kind = _kind(text, words)
    person = kind == _PEOPLE or any(_kind(parent, words) == _PEOPLE for parent, _ in parents)
    if kind or person:
        return Name("", "UNKNOWN", person=person)
    if whole := _GROUPS.get(_plain(text)) or ((text, rank) if re.search(VIRUS, text) else None):
        return Name(*whole)
    above = {parent: of for parent, of in parents}  # noqa: C416 (of the last where a name comes twice)
    text = _spelt(text, {parent for parent, of in parents if of == "GENUS"})
    if found := _without_author(text, rank, parents):
        return found
    formula = _crossed(text, rank)
    if formula and " × " in formula.scientific:
        return formula
    written = formula.scientific if formula else text
    name, author = _authored(written)
    if formula:
        return Name(name, _marked(name, formula.rank), authorship=author)
    if name != written:
        found = understand(name, rank, parents, words)
        return found if found.qualifier.startswith(("cf", "aff")) else replace(found, authorship=author)
    if found := _in_part(text, rank, parents):
        return found
    if found := _WIDELY.search(text):
        return Name(text[: found.start()], rank if rank != "UNKNOWN" else "SPECIES", found[1])
    known = above.get(text) or (_HIGHER.get(text) if rank == "UNKNOWN" else None)
    return Name(text, known or _marked(text, rank))


def _without_author(text: str, rank: str, parents: Sequence[tuple[str, str]]) -> Name | None:
    """What a determination says that has no author, whatever looks like one in it."""
    if found := _BIN.search(text):  # the number of a cluster of sequences, which is no name
        return (
            _up_to(text[: found.start()], found[0].strip(), rank, parents) if found.start() else Name(text, "UNKNOWN")
        )
    if _NOTHING_KNOWN.fullmatch(text):
        return Name(*parents[-1], text) if parents else Name("", "UNKNOWN")
    found = _EITHER.fullmatch(text)
    return _up_to(found[1], found[2], rank, parents) if found else None


def _in_part(text: str, rank: str, parents: Sequence[tuple[str, str]]) -> Name | None:
    """What a determination says that is sure of a part of the name only."""
    if found := _CONFER.search(text) or _DOUBTED.search(text):
        return _up_to(text[: found.start()].strip(), text[found.start() :].strip(), rank, parents)
    if (found := _SPECIES.search(text)) and found.start():
        return _up_to(text[: found.start()], found[1].strip(), rank, parents)
    if found := _SAID_LAST.fullmatch(text):
        return _up_to(found[1], found[2], rank, parents)
    if text.endswith("?"):
        before, _, last = text.rstrip("? ").rpartition(" ")
        return _up_to(before, f"{last}?", rank, parents)
    return None


def _spelt(text: str, genera: set[str]) -> str:
    """A name as names are spelt, whatever program or keyboard wrote it.

    In capitals, or without any, it may be one of everyday language (`red fox`), unless it begins with its genus.
    """
    text = _GENERIC_CROSS.sub("×", text.lstrip("†✝ "))
    text = re.sub(r"\s*\(\?\)$", "?", text)
    text = re.sub(r"^\?\s*(?=[A-Z])(.*)", r"\1?", text)
    if _LABEL.fullmatch(text):
        text = text.replace("_", " ")
    words = re.fullmatch(r"[A-Z]+(?: [A-Z-]+){1,2}|[a-z]+(?: [a-z-]+){1,2}", text)
    if words and text.partition(" ")[0].capitalize() in genera:
        text = text.capitalize()
    return text


def _marked(name: str, rank: str) -> str:
    """The rank that a name says itself, as in `subsp.`, where it is told to be a species or nothing."""
    marker = _MARKER.search(name)
    return _MARKERS[marker[1]] if marker and rank in ("SPECIES", "UNKNOWN") else rank


def _authored(text: str) -> tuple[str, str]:
    """A name without its author, and the author; of the lowest rank where several are named."""
    if (found := _SPECIES_AUTHORED.fullmatch(text)) is not None:
        name, author = found[1], found[2]
        if later := _MARKED_LATER.search(author):
            return f"{name} {later[1]}", later[2] or ""
        return name, author
    if (found := _GENUS_AUTHORED.fullmatch(text)) and _SURELY_AUTHOR.search(found[2]):
        return found[1], found[2]
    if found := re.fullmatch(rf"(.*\s(?:agg\.?|(?:cf|aff|nr)\.?(?:\s{_EPITHET})+))\s+({_AUTHOR})", text):
        return found[1], found[2]
    return text, ""


@cache
def vocabulary(not_taxa: tuple[str, ...] = (), people: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Names that are no taxa, in the form in which they are compared, with their kind.

    Args:
        not_taxa: further ones.
        people: further names of people.
    """
    known: dict[str, list[str]] = read_yaml(_VOCABULARY, SheafError)
    found = {_plain(one): kind for kind, lines in known.items() for line in lines for one in line.split(",")}
    return found | {_plain(one): "own" for one in not_taxa} | {_plain(one): _PEOPLE for one in people}


def _kind(text: str, words: Mapping[str, str]) -> str | None:
    """Which kind of no taxon a text is: such a word or words, also with more behind a sign, as in `Vehicle: car`.

    `Snow leopard` and `Hunter's hartebeest` begin with such a word and are animals; what begins with a negation or an
    unknown (`Not a moth`, `Unknown moth`) is none.
    Where a part of it is a person, the whole is: `dog with handler`, `cf. Homo sapiens`, `Vulpes vulpes/Homo sapiens`.
    """
    plain = _plain(text)
    if plain in words or not plain:
        kind = words.get(plain, "unknown")
    else:
        kind = words.get(_plain(_HEAD_ENDS.split(text)[0])) or _begun(text, words)
    if kind in (_PEOPLE, _PEOPLE_WITHIN):
        return _PEOPLE
    if _shows_people(_plain(_POSSESSIVE.sub("", text)), words):  # `Pheidole Hunter, 1919` is no person
        rest = text if _LINKED.search(text) else _authored(text)[0]
        return _PEOPLE if _shows_people(_plain(rest), words) else kind
    return kind


def _begun(text: str, words: Mapping[str, str]) -> str | None:
    """The kind of the first word, where what follows does not make it the name of an animal."""
    first, *rest = _plain(_POSSESSIVE.sub("", text)).split() or [""]
    kind = words.get(first) if first not in _WORDS_ALONE else None
    told = kind in ("unknown", _PEOPLE, _PEOPLE_WITHIN)
    return kind if told or all(word in words or word in _OF_PICTURES or word.isdecimal() for word in rest) else None


def _shows_people(plain: str, words: Mapping[str, str]) -> bool:
    return any(one == "homo" or words.get(one) == _PEOPLE_WITHIN for one in plain.split())


def _plain(text: str) -> str:
    """Lower-case letters and digits with single blanks; without accents."""
    text = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    return " ".join(re.sub(r"[\W_]+", " ", text.replace("ø", "o").replace("ł", "l").casefold()).split())


def _up_to(known: str, qualifier: str, rank: str, parents: Sequence[tuple[str, str]]) -> Name:
    """The name at the lowest rank that is certain."""
    if not known:
        if parents:
            return Name(*parents[-1], qualifier)
        return Name(re.sub(r"(?i)^(cf|aff|nr|conf)\.?\s+", "", qualifier), rank, qualifier)
    of = dict(parents).get(known) or _HIGHER.get(known)
    if of is None:
        of = next((ranked for ending, ranked in _ENDINGS.items() if known.endswith(ending)), None)
    if of is None and known.islower():  # everyday language: `bird sp.`
        return Name(known, "UNKNOWN", qualifier)
    if of is None and rank in _BELOW_GENUS:
        unknown = "UNKNOWN" if qualifier.lower().startswith("indet") else "GENUS"  # which may be said of any rank
        of = unknown if " " not in known else "SPECIES"
    return Name(known, of or rank, qualifier)


def _crossed(text: str, rank: str) -> Name | None:
    """A hybrid: of named ones the sign belongs to the name, a formula has no rank of its own."""
    if not (found := _CROSS.search(text)):
        return None
    before, after = text[: found.start()].strip(), text[found.end() :].strip()
    if not before:
        return Name(f"×{after}", rank)
    if not after:
        return None
    if " " not in before and after[0].islower():
        return Name(f"{before} ×{after}", rank)
    if _ATTACHED.match(text):
        return Name(f"{before} ×{after}", rank if rank in _BELOW_GENUS - {"SPECIES"} else "UNKNOWN")
    return Name(f"{before} × {after}", "UNKNOWN")


class Meant:
    """Which taxa a name, synonym or GBIF key of the settings means, whatever else is written with it.

    A place that should have been hidden cannot be taken back: a name means all taxa whose name may be it. So
    `Lynx lynx` means what is below it, `Lynx_lynx`, `Lynx (Lynx) lynx`, `Lynx cf. lynx`, `L. lynx`, one with its
    author, and each hybrid, slash or `or` with it.
    """

    def __init__(
        self, taxa: Iterable[tuple[int, str, int | None, int | None, Sequence[tuple[int | None, str | None]]]]
    ) -> None:
        """Take in all taxa: id, name, GBIF key, id of the accepted taxon, and id and name of the ancestors."""
        self._taxa = list(taxa)
        self._words = dict[str, list[str]]()
        self._with = dict[str, set[str]]()  # names by each of their words
        for name in {name for _, own, _, _, above in self._taxa for name in (own, *(of or "" for _, of in above))}:
            self._words[name] = _words(name)
            for word in self._words[name]:
                self._with.setdefault(word.casefold(), set()).add(name)

    def by(self, wanted: str | int) -> set[int]:
        """The ids of the taxa that a scientific name, in any case and with or without author, or a key means."""
        text = str(wanted).strip()
        named = self._within(self._named(text))
        found = named | {id_ for id_, _, key, _, _ in self._taxa if text.isdecimal() and key == int(text)}
        accepted = {of for id_, _, _, of, _ in self._taxa if id_ in found and of is not None} | found
        found |= {id_ for id_, _, _, of, _ in self._taxa if id_ in accepted or of in accepted}
        keys = {key for id_, own, key, _, _ in self._taxa if id_ in found and key is not None and not _several(own)}
        found |= {id_ for id_, _, key, _, _ in self._taxa if key in keys}
        others = {own for id_, own, _, _, _ in self._taxa if id_ in found - named and not _several(own)}
        return found | self._within(set().union(*map(self._named, others)), found)

    def _named(self, wanted: str) -> set[str]:
        """The names that may be the wanted one: those with all its words in the same order."""
        text = _SUBGENUS.sub(" ", " ".join(wanted.replace("_", " ").split()))
        found = set[str]()
        for one in {text, _authored(text)[0], re.sub(r"(?<=[a-z])\s+\(?[A-Z](?![A-Z]).*$", "", text)}:
            words = [word.casefold() for word in _words(one) if word not in ("x", "X")]
            names = self._with.get(words[-1], ()) if words else ()
            found |= {name for name in names if _holds(self._words[name], words)}
        return found

    def _within(self, names: set[str], ids: Collection[int] = ()) -> set[int]:
        """The ids of the taxa that have one of the names or ids, or are below such a one."""
        return {
            id_
            for id_, own, _, _, above in self._taxa
            if own in names or any(of in ids or name in names for of, name in above)
        }


_SUBGENUS = re.compile(r"(?<=[a-z]) \([A-Z][a-z-]+\)(?= \W*[a-z])")


def _words(name: str) -> list[str]:
    """The words of a name, without accents and signs; a dot stays with what may be a genus' first letters."""
    text = "".join(one for one in name if unicodedata.category(one) != "Cf").replace("_", " ")  # such as soft hyphens
    text = "".join(one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one))
    words = re.findall(r"[^\W\d_]{1,2}\.|[^\W_]+(?:-[^\W_]+)*", text)
    repeated = re.match(r"\W*([A-Z][a-z-]+) \(\1\)(?= \W*[a-z])", text)  # subgenus of the same name
    return words[1:] if repeated else words


def _several(name: str) -> bool:
    """Whether a name is that of several taxa, so that it is none to compare with."""
    return bool(_CROSS.search(name) or re.search(r"(?i)/|\bor\b", name))


def _holds(words: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether words hold the wanted ones in their order; a single one is a genus or higher, never an epithet."""
    if len(wanted) == 1:
        return any(
            word.casefold() == wanted[0] and (place == 0 or word[0].isupper()) for place, word in enumerate(words)
        )
    left = iter(words)
    first, *rest = wanted
    began = any(
        word.casefold() == first or (word.endswith(".") and first.startswith(word[:-1].casefold())) for word in left
    )
    return began and all(any(word.casefold() == one for word in left) for one in rest)
