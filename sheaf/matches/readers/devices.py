"""One name for one device: sources write the full MAC address, its last characters, or a label."""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

_MAC = re.compile(r"(?:[0-9A-F]{2}[:-]?){5}[0-9A-F]{2}")
_TAIL = re.compile(r"(?:.*[-_ ])?([0-9A-F]{1,2}):?([0-9A-F]{2})")


class Device(BaseModel):
    """A timer or sensor of the match.

    Attributes:
        id: MAC address, with or without colons, or its end, as logs write it.
        label: what logs may call it instead of its address.
        kind: timer or sensor.
        target, stage, bay: where it is; sensors belong to the timer of their bay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    id: str = Field(min_length=1)
    label: str | None = None
    kind: Literal["timer", "sensor"] = "sensor"
    target: str | None = None
    stage: str | None = None
    bay: str | None = None


@dataclass(frozen=True)
class Names:
    """What each name that was seen stands for; `unknown` could not be told."""

    full: Mapping[str, str]
    unknown: tuple[str, ...] = ()
    devices: Mapping[str, Device] = field(default_factory=dict)


def mac(text: str) -> str | None:
    """A MAC address in capitals with colons; None when the text is none."""
    plain = text.strip().upper()
    if not _MAC.fullmatch(plain):
        return None
    digits = re.sub("[:-]", "", plain)
    return ":".join(digits[index : index + 2] for index in range(0, 12, 2))


def resolve(seen: Collection[tuple[str, str]], known: Iterable[Device]) -> Names:
    """Give each name its full address, by the known devices and the addresses seen elsewhere in the match.

    Args:
        seen: pairs of device (Timer, Sensor, …) and the name the source used.
        known: devices of the manifest and the site database.
    """
    pairs = sorted({(kind.lower(), name) for kind, name in seen if kind.lower() in ("timer", "sensor")})
    listed = {mac(device.id) or device.id: device for device in in_full(known, seen)}
    labels = {device.label: address for address, device in listed.items() if device.label}
    addresses = sorted({*listed, *(address for _, name in pairs if (address := mac(name)))})
    timers = {address for address, device in listed.items() if device.kind == "timer"}
    timers = timers or {mac(name) or name for kind, name in pairs if kind == "timer" and name != "AMG_TIMER"}

    full: dict[str, str] = {}
    unknown = []
    for kind, name in pairs:
        if kind == "timer" and name == "AMG_TIMER":
            candidates = _addresses(timers, addresses)
        else:
            candidates = {labels[name]} if name in labels else {a} if (a := mac(name)) else _by_tail(name, addresses)
        if len(candidates) == 1:
            full[name] = next(iter(candidates))
        elif name not in listed:
            unknown.append(name)
    return Names(full, tuple(unknown), listed)


def in_full(known: Iterable[Device], seen: Collection[tuple[str, str]]) -> tuple[Device, ...]:
    """Devices with the whole address, where a list has only its end and one that was seen ends so."""
    addresses = sorted({address for _, name in seen if (address := mac(name))})
    found = []
    for device in known:
        ends = set() if mac(device.id) else _by_tail(device.id, addresses)
        found.append(device.model_copy(update={"id": ends.pop()}) if len(ends) == 1 else device)
    return tuple(found)


def _addresses(names: Iterable[str], addresses: list[str]) -> set[str]:
    return {next(iter(found)) if len(found := _by_tail(name, addresses)) == 1 else name for name in names}


def _by_tail(name: str, addresses: list[str]) -> set[str]:
    found = _TAIL.fullmatch(name.strip().upper())
    if found is None:
        return set()
    tail = found[1] + found[2]
    return {address for address in addresses if address.replace(":", "").endswith(tail)}
