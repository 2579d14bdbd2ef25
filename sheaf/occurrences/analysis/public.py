"""What may be shown to everybody: no e-mail address, no signature or token, no host that only insiders reach.

Here: SQL macros that the tables of exports are made with, so that no series has to think of it. Not here: what
is hidden because a place is sensitive (`build`).
"""

from collections.abc import Mapping

# Keys of a query are told by their last word: `temp_url_sig`, `x-api-key`, `__token__`, `tempauth`.
_SECRETS = (
    r"x-(?:amz|goog|oss|ms)-[a-z-]+|q-(?:ak|sign)[a-z-]*|key-pair-id|awsaccesskeyid|ossaccesskeyid|googleaccessid|auth[a-z]*"
    r"|(?:[a-z0-9]+[._-])*_*(?:[a-z]*(?:token|auth|key|secret|password|passwd|signature|hmac|credentials?|sess(?:ion)?(?:id)?)"
    r"|sig|sign|pass|pwd|pw|jwt|sid|policy|expires|expiry|hdnts|hdnea)_*"
)
_SECRET_QUERY = rf"(?:[?&;#~]|%3f|%26|%3b|%23)(?:{_SECRETS})(?:=|%3d)"  # as it is, or within another address
_PART = r"(?:0x[0-9a-f]*|\d+)"
_PRIVATE = (  # RFC 6890
    r"(?:10|127|0)\.\d+\.\d+\.\d+|192\.168\.\d+\.\d+|169\.254\.\d+\.\d+|172\.(?:1[6-9]|2\d|3[01])\.\d+\.\d+"
    r"|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.\d+\.\d+|198\.1[89]\.\d+\.\d+|192\.0\.[02]\.\d+|198\.51\.100\.\d+"
    r"|203\.0\.113\.\d+|(?:22[4-9]|2[3-5]\d)\.\d+\.\d+\.\d+"
)
_INSIDE_NAME = (  # RFC 6761, 6762, 8375, and what routers and clusters use
    r"[a-z0-9_.-]+\.(?:local|localdomain|localhost|internal|intranet|lan|corp|home|private|test|invalid|home\.arpa"
    r"|fritz\.box|nip\.io|sslip\.io)|[a-z0-9.-]+\.(?:svc|cluster)(?:\.[a-z0-9.-]+)?"
)
_INSIDE = (  # a number that is not written as four is odd: whoever writes it so hides something
    rf"[a-z0-9_-]+|{_INSIDE_NAME}|{_PRIVATE}|(?:{_PART}\.){{1,2}}{_PART}"
    rf"|(?:{_PART}\.){{0,3}}(?:0x[0-9a-f]*|0\d+)(?:\.{_PART}){{0,3}}|\[[^\]]*\]"
    r"|[^/?#\s]*[\x{FF01}-\x{FF5E}\x{3002}\x{FF61}][^/?#\s]*"  # wide letters, which browsers read as others
)
_FOLDERS = "home|root|users|mnt|media|volumes|srv|var|tmp|opt|etc|private|data|nfs|net|storage|scratch"
_MACHINE_PATH = r"^(?:[A-Za-z]:|[\\/~])"
_MAIL = r"[\pL\pN._%+-]+@[\pL\pN-]+(?:\.[\pL\pN-]+)*\.\pL{2,}"
_LOGIN = r"://[^/?#\s]*@"
_INSIDE_URL = rf"://(?:{_INSIDE})\.?(?::\d+)?(?:[/?#]|$)"
_KEY_STARTS = r"A[KS]IA|AIza|gh[pousr]_|github_pat_|glpat-|xox[abprs]-|eyJ|[rs]k_live_|ya29\.|npm_|hf_|SG\."
_KEYS = (
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{20,}"
    r"|\bxox[abprs]-[\w-]{10,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|\b[rs]k_live_\w{16,}|\bya29\.[\w-]{20,}|\bnpm_\w{30,}"
    r"|\bhf_\w{30,}|\bSG\.[\w-]{16,}\.[\w-]{16,}"
)
_SAID = (  # what says itself that it is secret
    r"\bBearer\s+[\w.~+/=-]{8,}|\b(?:proxy-)?authorization\s*[:=]\s*(?:(?:token|basic|bearer|digest)\s+)?\S+"
    r"|\b(?:password|passwd|passwort|pwd|mot de passe|contraseña|senha|cookie"
    r"|(?:[a-z]+[ _-])?(?:api|access|secret)[ _-]?key|(?:client[ _-])?secret|(?:[a-z]+[ _-])?token)\s*[:=]\s*\S+"
)
_TEXT_URL = rf"[a-z][a-z0-9+.-]*://(?:[^/?#\s]*@\S*|\S*{_SECRET_QUERY}\S*|(?:{_INSIDE})\.?(?::\d+)?(?:[/?#]\S*|$|([^\pL\pN_.:/?#@-])))"
_TEXT_PLACE = (
    rf"\bfile:/\S+|\\\\[^\s\\]+\\\S*|\b[a-z]:\\\S+|\B/(?:{_FOLDERS})/\S+|\B~/\S+"
    rf"|\b(?:{_PRIVATE})\b(?::\d+)?(?:/\S*)?|\b(?:{_INSIDE_NAME}|localhost)(?::\d+(?:/\S*)?|/\S*)"
)
_TEXT_MAIL = (
    r"\bmailto:\S+|[\w.+-]+%40[\w.-]+|[\w.+-]+\s?[\[(]\s?at\s?[\])]\s?[\w-]+\s?(?:\.|[\[(]\s?dot)[\w.-]+"
    rf"|{_MAIL}"
)

_SUSPECT = rf"[@/\\:=]|%40|[(\[] ?at ?[)\]]|bearer|{_KEY_STARTS}|{_PRIVATE}"

# Other letters than ASCII's tell nothing in an address, and may be in a code that DuckDB cannot read.
# Millions of addresses are looked at: what is found without a pattern says which patterns are worth trying. In a CASE:
# of a condition that is negated DuckDB tries every part.
MACROS = f"""
CREATE MACRO has_secret(url) AS CASE
    WHEN contains(url, '?') OR contains(url, '&') OR contains(url, ';') OR contains(url, '#') OR contains(url, '~')
        THEN regexp_matches(url, '(?i){_SECRET_QUERY}') ELSE false END
    OR CASE WHEN contains(url, 'eyJ') OR contains(url, 'AKIA') OR contains(url, 'AIza') OR contains(url, '_pat_')
        OR contains(url, 'ghp_') OR contains(url, '_live_') THEN regexp_matches(url, '{_KEYS}') ELSE false END;
CREATE MACRO has_person(url) AS CASE WHEN contains(url, '@')
    THEN regexp_matches(url, '(?i){_LOGIN}') OR regexp_matches(url, '{_MAIL}') ELSE false END;
CREATE MACRO is_inside(url) AS CASE WHEN regexp_matches(url, '(?i)^https?{_INSIDE_URL}') THEN true
    WHEN contains(substr(url, 8), '://') THEN regexp_matches(url, '(?i){_INSIDE_URL}') ELSE false END;
CREATE MACRO unquoted(url) AS url_decode(regexp_replace(url, '(?i)%[89a-f][0-9a-f]', '_', 'g'));
CREATE MACRO is_public(url) AS CASE
    WHEN regexp_matches(url, '(?i)^https?://') THEN NOT has_person(url) AND NOT has_secret(url) AND NOT is_inside(url)
    ELSE NOT contains(url, '://') AND NOT contains(url, '@') AND NOT has_secret(url)
        AND NOT regexp_matches(url, '{_MACHINE_PATH}') END;
CREATE MACRO public_url(url) AS CASE
    WHEN contains(url, '%') THEN CASE WHEN NOT has_person(url) AND NOT has_secret(url)
        AND list_transform([unquoted(url)], lambda one: is_public(one)
            AND CASE WHEN contains(one, '%') THEN is_public(unquoted(one)) ELSE true END)[1] THEN url END
    WHEN is_public(url) THEN url END;
CREATE MACRO public_text(text) AS CASE
    WHEN text IS NULL OR NOT regexp_matches(text, '(?i){_SUSPECT}') THEN text
    ELSE regexp_replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(text,
        '(?i){_TEXT_URL}', '[address withheld]\\1', 'g'), '(?i){_TEXT_PLACE}', '[address withheld]', 'g'),
        '(?i){_TEXT_MAIL}', '[e-mail withheld]', 'g'), '{_KEYS}', '[token withheld]', 'g'),
        '(?i){_SAID}', '[token withheld]', 'g') END;
CREATE MACRO person_name(name) AS CASE WHEN regexp_matches(name, '(?i){_TEXT_MAIL}') THEN '' ELSE public_text(name) END;
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
