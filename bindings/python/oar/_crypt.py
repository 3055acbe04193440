"""Encrypted models, in the form of Paddle's own cipher: AES in counter mode, 16 random bytes in front."""
from __future__ import annotations

import os

from . import _oar

KEY_BYTES, COUNTER_BYTES = 16, 16


def new_key() -> bytes:
    """A key of 128 bits."""
    return os.urandom(KEY_BYTES)


def encrypt(data: bytes, key: bytes) -> bytes:
    """The counter and the encrypted content."""
    counter = os.urandom(COUNTER_BYTES)
    return counter + _oar.aes_ctr(key, counter, data)


def decrypt(data: bytes, key: bytes) -> bytes:
    """The content; with a wrong key it is noise, since this form has no check of its own."""
    if len(data) < COUNTER_BYTES:
        raise ValueError(f"{len(data)} bytes are no encrypted file: the first {COUNTER_BYTES} are its counter")
    return _oar.aes_ctr(key, data[:COUNTER_BYTES], data[COUNTER_BYTES:])
