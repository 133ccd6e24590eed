"""The key of a call: the same call has the same key, and is therefore paid for once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from mountsea_banana.batch._keys import slug
from mountsea_banana.rules._check import encode_and_check


def key_of(body: Mapping[str, object], variant: int) -> str:
    """Return the key of a valid request body, which is also the name of its file.

    If this changed, calls that are in a ledger would be paid for again.
    """
    digest = hashlib.sha256(encode_and_check(body).canonical).hexdigest()[:16]
    key = f"{slug(str(body['prompt']))}-{digest}".lstrip("-")
    return key if variant == 1 else f"{key}-v{variant}"
