"""A password as PostgreSQL stores it, so that the password itself never travels or is logged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import stringprep
import unicodedata
from typing import Final

_ITERATIONS: Final = 4096


def _prepare(password: str) -> bytes:
    """SASLprep (RFC 4013) as the server does it: text that it forbids is taken as it is."""
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    forbidden = any(
        stringprep.in_table_c21_c22(c)
        or stringprep.in_table_a1(c)
        or stringprep.in_table_c3(c)
        or stringprep.in_table_c4(c)
        or stringprep.in_table_c5(c)
        or stringprep.in_table_c6(c)
        or stringprep.in_table_c7(c)
        or stringprep.in_table_c8(c)
        or stringprep.in_table_c9(c)
        for c in normal
    )
    return (password if forbidden or not normal else normal).encode()


def verifier(password: str, salt: bytes | None = None) -> str:
    """Return the SCRAM-SHA-256 verifier of ``password`` (RFC 5802 section 3, RFC 7677).

    ``ALTER ROLE … PASSWORD`` takes it in the password's place.
    """
    salt = salt or os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", _prepare(password), salt, _ITERATIONS)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored = hashlib.sha256(client).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    text = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{text[0]}${text[1]}:{text[2]}"
