"""The canonical event types, and what the texts of the sources mean in them.

Not here: how a source is read (`json_lines`, `text_logs`, `sqlite`).
"""

import re
from functools import lru_cache

EVENT_TYPES = (
    "bridge_initialized",
    "ble_scanning",
    "devices_located",
    "sensor_connected",
    "timer_connected",
    "sensor_streaming",
    "timer_start_button",
    "timer_start_beep",
    "shot_detected",
    "timer_shot_detail",
    "impact_detected",
    "timer_stop_button",
    "string_summary",
    "device_signal",
    "other",
)

# Types as the sources write them; the event filter accepts these too.
SOURCE_TYPES = (
    *("Status", "String", "StringSummary"),
    *("timer_start", "timer_stop", "timer_active", "unknown"),
    *("amg_raw", "amg_parsed", "bt50_raw", "bt50_parsed"),
    *("START", "SHOT", "STOP", "UNKNOWN", "T0", "HIT"),
)

TIMER_BACKUP_TYPES = {
    "timer_start": "timer_start_beep",
    "timer_stop": "timer_stop_button",
    "shot_detected": "shot_detected",
    "START": "timer_start_beep",
    "SHOT": "shot_detected",
    "STOP": "timer_stop_button",
}

_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE), device, event_type)
    for pattern, device, event_type in (
        (r"String Time: *[\d.]+s?; *Shots Detected: *\d+; *Impacts Detected: *\d+", None, "string_summary"),
        (r"Shot detected$", "timer", "shot_detected"),
        (r"Shot (?P<number>\d+): (?P<time>[\d.]+)s", "timer", "timer_shot_detail"),
        (r"Shot Sequence \d+/\d+: |Timer Active: ", "timer", "timer_shot_detail"),
        (r"(?:\w+ )?Impact detected", "sensor", "impact_detected"),
        (r"Timer Start Button pressed", "timer", "timer_start_button"),
        (r"Timer Start Beep|Timer Started", "timer", "timer_start_beep"),
        (r"Timer stop button pressed|Timer Stopped", "timer", "timer_stop_button"),
        (r"Bridge Initialized", None, "bridge_initialized"),
        (r"BLE Scanning", None, "ble_scanning"),
        (r"Devices Located", None, "devices_located"),
        (r"Connected$", "sensor", "sensor_connected"),
        (r"Connected$", "timer", "timer_connected"),
        (r".*streaming$", "sensor", "sensor_streaming"),
    )
)
_IMPACT_MAGNITUDE = re.compile(r"Impact detected: (?P<magnitude>[\d.]+)", re.IGNORECASE)
_SUMMARY = re.compile(
    r"String Time: *(?P<time>[\d.]+)s?; *Shots Detected: *(?P<shots>\d+); *Impacts Detected: *(?P<impacts>\d+)",
    re.IGNORECASE,
)


@lru_cache(maxsize=1 << 16)
def classify(device: str | None, details: str | None) -> tuple[str, int | None, float | None, float | None]:
    """What a line of the bridge's main log means.

    Returns:
        Event type, shot number, time since the beep in seconds, magnitude of an impact.
    """
    who, text = (device or "").lower(), (details or "").strip()
    for pattern, wanted, event_type in _RULES:
        found = pattern.match(text) if wanted is None or wanted == who else None
        if found is None:
            continue
        groups = found.groupdict()
        magnitude = _IMPACT_MAGNITUDE.search(text) if event_type == "impact_detected" else None
        return (
            event_type,
            shot_number(groups.get("number")),
            number(groups.get("time")),
            number(magnitude["magnitude"]) if magnitude else None,
        )
    return "other", None, None, None


def summary(details: str | None) -> tuple[float | None, int, int] | None:
    """String time in seconds, shots and impacts of a summary line."""
    found = _SUMMARY.search(details or "")
    return (number(found["time"]), int(found["shots"][:9]), int(found["impacts"][:9])) if found else None


def number(value: object) -> float | None:
    """A finite number, also when it came as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if abs(result) < 1e15 else None


def shot_number(value: object) -> int | None:
    """A shot's number as a timer gives it; None for anything that cannot be one."""
    result = number(value)
    return int(result) if result is not None and result == int(result) and 0 <= result < 1_000_000 else None


def integer(value: object) -> int | None:
    """An integer that eight bytes hold; None for anything else."""
    return value if type(value) is int and -(2**63) <= value < 2**63 else None
