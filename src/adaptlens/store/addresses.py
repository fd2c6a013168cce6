"""Addresses as they may be stored and shown: without the name and password in them."""

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_USER_INFO = re.compile(r"(?<=://)[^/?#\s'\"<>]*@")
"""Of an address, what stands before the host (RFC 3986, section 3.2.1); the last "@" ends it."""


def without_password(text: str) -> str:
    """Return a text in which every address has "***" in place of its user name and password."""
    return _USER_INFO.sub(f"{HIDDEN}@", text)


def host_only(address: str) -> str:
    """Return an address, which may lack a scheme, with "***" for its user name and password."""
    if "://" in address:
        return without_password(address)
    _, at, host = address.rpartition("@")
    return f"{HIDDEN}@{host}" if at else address


def without_passwords(value: Any) -> Any:
    """Return settings, lists and mappings of any depth, with `without_password` of every text."""
    if isinstance(value, str):
        return without_password(value)
    if isinstance(value, Mapping):
        return {
            key: host_only(inner)
            if key == "address" and isinstance(inner, str)
            else without_passwords(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [without_passwords(inner) for inner in value]
    return value
