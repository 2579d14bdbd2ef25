"""SQL that makes one line of delimited text of a row.

Here: quoting and what may not be in a value. Not here: which values a line has.
"""

from collections.abc import Sequence

# Each character that could break a line or a reader becomes one space, as GBIF's publishing tool does it.
_UNSAFE = r"[\x00-\x1F\x7F\x{FFFD}]"
_NULL_MARKERS = r"NULL|\\N|None|nan|NaN"


def delimited(values: Sequence[str], separator: str) -> str:
    """A line with its line feed; a null value is an empty one."""
    between = f", chr({ord(separator)}), "
    return f"concat({between.join(values)}, chr(10))"


def one_line(value: str) -> str:
    """Text without tabs, line ends and control characters, trimmed; texts that readers take for null are empty."""
    # looked at once, as nearly all texts are plain; `IN` would be a join with the markers
    is_plain = f"NOT regexp_matches({value}, '{_UNSAFE}|^\\p{{Zs}}|\\p{{Zs}}$|^(?:{_NULL_MARKERS})$')"
    is_null = f"regexp_full_match({value}, '{_NULL_MARKERS}')"
    plain = f"trim(regexp_replace({value}, '{_UNSAFE}', ' ', 'g'))"
    return f"CASE WHEN {is_plain} THEN {value} WHEN {is_null} THEN NULL ELSE {plain} END"


def quoted(value: str, when: str) -> str:
    """Text in double quotes where it needs them.

    Args:
        when: a regular expression of the characters that make quotes necessary.
    """
    return (
        f"""CASE WHEN regexp_matches({value}, '{when}') THEN '"' || replace({value}, '"', '""') || '"' """
        f"ELSE {value} END"
    )
