"""What may be shown to everybody: no e-mail address, no signature or token, no host that only insiders reach.

Here: SQL macros that the tables of exports are made with, so that no series has to think of it. Not here: what
is hidden because a place is sensitive (`build`).
"""

from collections.abc import Mapping

_SECRETS = (
    "x-amz-[a-z-]+|x-goog-[a-z-]+|x-oss-[a-z-]+|signature|sig|expires|expiry|[a-z_-]*token|auth[a-z]*|api[_-]?key|resourcekey|key"
    "|awsaccesskeyid|ossaccesskeyid|googleaccessid|policy|key-pair-id|password|passwd|pwd|secret|credentials?"
    "|jwt|sessionid|session|sid|hmac"
)
_INSIDE = (
    r"localhost|[a-z0-9_-]+|[a-z0-9_.-]+\.(?:local|localdomain|internal|intranet|lan|corp|home|private|test|invalid)"
    r"|(?:10|127|0)\.\d+\.\d+\.\d+|192\.168\.\d+\.\d+|169\.254\.\d+\.\d+|172\.(?:1[6-9]|2\d|3[01])\.\d+\.\d+"
    r"|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+\.\d+|\[[^\]]*\]|[a-z0-9.-]+\.(?:svc|cluster)(?:\.[a-z0-9.-]+)?"
)
_MACHINE_PATH = r"^(?:[A-Za-z]:|\\|/(?:home|root|users|mnt|media|volumes|srv|var|tmp|opt|etc|private)/)"
_MAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
_SECRET_QUERY = rf"(?:[?&;#]|%3f|%26|%3b|%23)(?:{_SECRETS})(?:=|%3d)"  # as it is, or within another address
_LOGIN = r"://[^/?#\s]*@"
_INSIDE_URL = rf"://(?:{_INSIDE})\.?(?::\d+)?(?:[/?#]|$)"
_KEYS = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}|\bglpat-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|\bBearer\s+[\w.~+/=-]{8,}"
)
_TEXT_URL = rf"[a-z][a-z0-9+.-]*://(?:[^/?#\s]*@\S*|\S*{_SECRET_QUERY}\S*|(?:{_INSIDE})\.?(?::\d+)?(?:[/?#]\S*|$|([^\w.:/?#@-])))"

# Millions of addresses are looked at: what is found without a pattern says which patterns are worth trying. In a CASE:
# of a condition that is negated DuckDB tries every part.
MACROS = f"""
CREATE MACRO has_secret(url) AS CASE
    WHEN contains(url, '?') OR contains(url, '&') OR contains(url, ';') OR contains(url, '#') OR contains(url, '%')
        THEN regexp_matches(url, '(?i){_SECRET_QUERY}') ELSE false END;
CREATE MACRO has_person(url) AS CASE WHEN contains(url, '@')
    THEN regexp_matches(url, '(?i){_LOGIN}') OR regexp_matches(url, '{_MAIL}') ELSE false END;
CREATE MACRO is_inside(url) AS CASE WHEN regexp_matches(url, '(?i)^https?{_INSIDE_URL}') THEN true
    WHEN contains(substr(url, 8), '://') THEN regexp_matches(url, '(?i){_INSIDE_URL}') ELSE false END;
CREATE MACRO public_url(url) AS CASE
    WHEN regexp_matches(url, '(?i)^https?://') AND NOT has_person(url) AND NOT has_secret(url) AND NOT is_inside(url)
        THEN url
    WHEN NOT contains(url, '://') AND NOT contains(url, '@') AND NOT has_secret(url) AND NOT starts_with(url, '//')
        AND NOT regexp_matches(url, '(?i){_MACHINE_PATH}') THEN url END;
CREATE MACRO public_text(text) AS CASE
    WHEN text IS NULL OR NOT regexp_matches(text, '(?i)[@/]|akia|asia|gh[pousr]_|glpat|xox|eyj|bearer') THEN text
    ELSE regexp_replace(regexp_replace(regexp_replace(text, '(?i){_TEXT_URL}', '[address withheld]\1', 'g'),
        '{_MAIL}', '[e-mail withheld]', 'g'), '(?i){_KEYS}', '[token withheld]', 'g') END;
CREATE MACRO person_name(name) AS CASE WHEN regexp_matches(name, '{_MAIL}') THEN '' ELSE public_text(name) END;
"""

_TEXTS: Mapping[str, tuple[str, ...]] = {
    "main_project": ("name", "description", "license", "rights_holder", "protocol", "protocol_description"),
    "main_deployment": ("name",),
    "main_sourceimagecollection": ("name",),
    "main_taxon": ("name", "parents_json", "common_name_en", "fieldguide_id", "author"),
    "ml_algorithm": ("name", "key", "version_name"),
    "main_identification": ("comment",),
}


def public_view(table: str) -> str:
    """SQL of a table that arrived with its texts as they may be shown; `table` is that of its rows."""
    texts = [f'public_text("{name}") AS "{name}"' for name in _TEXTS.get(table, ())]
    if table == "users_user":
        texts = ["person_name(name) AS name"]
    return f"SELECT * REPLACE ({', '.join(texts)})" if texts else "SELECT *"
