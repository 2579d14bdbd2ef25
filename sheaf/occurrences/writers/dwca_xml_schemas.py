"""The XML documents of an archive against the schemas of Darwin Core text and GBIF's EML profile.

Here: validating against a folder of schemas, which are not ours to ship; nothing is fetched from the
network. Not here: all else that an archive must be (`dwca_verify`).
"""

from pathlib import Path

from sheaf.errors import VerificationError
from sheaf.exports.zips import opened
from sheaf.occurrences.writers.dwca_terms import DWC

_DOCUMENTS = (("meta.xml", "tdwg_dwc_text.xsd"), ("eml.xml", "eml-gbif-profile/1.3/eml.xsd"))


def check_schemas(archive: Path, schemas: Path) -> None:
    """Validate both XML documents of an archive.

    Args:
        schemas: folder with `tdwg_dwc_text.xsd` and `eml-gbif-profile/1.3/eml.xsd`.

    Raises:
        VerificationError: naming the document, the line and what is wrong.
    """
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] (lxml has no types)

    with opened(archive) as files:
        for document, schema in _DOCUMENTS:
            parser = etree.XMLParser(no_network=True, resolve_entities=False)
            parser.resolvers.add(_local_schemas(schemas))
            rules = etree.XMLSchema(etree.parse(str(schemas / schema), parser))
            found = etree.fromstring(files.read(document), etree.XMLParser(no_network=True, resolve_entities=False))
            if not rules.validate(found):
                first = rules.error_log[0]
                raise VerificationError(f"{document}, line {first.line}: {first.message}")


def _local_schemas(schemas: Path):
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] (lxml has no types)

    class Local(etree.Resolver):
        """Answers imports from the folder; what is not there is taken as empty."""

        def resolve(self, system_url, public_id, context):
            url = system_url or ""
            if url and "://" not in url and Path(url).exists():
                return self.resolve_filename(url, context)
            if url.endswith("/xml.xsd"):
                return self.resolve_filename(str(schemas / "xml.xsd"), context)
            return self.resolve_string(
                f'<schema xmlns="http://www.w3.org/2001/XMLSchema" targetNamespace="{DWC}"/>', context
            )

    return Local()
