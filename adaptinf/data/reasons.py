"""Every reason for which a row may be dropped, and what may be noted of one that is kept."""

from __future__ import annotations

from typing import Final

MALFORMED_ROW: Final = "malformed-row"
UNSAFE_PATH: Final = "unsafe-path"
MISSING_IMAGE: Final = "missing-image"
EMPTY_IMAGE: Final = "empty-image"
UNDECODABLE_IMAGE: Final = "undecodable-image"
OVERSIZED_IMAGE: Final = "oversized-image"
SINGLE_PIXEL: Final = "single-pixel-image"
ILLEGIBLE_TEXT: Final = "illegible-text"
IMAGE_MARK_MISMATCH: Final = "image-mark-mismatch"
NO_TURNS: Final = "no-turns"
UNKNOWN_ROLE: Final = "unknown-role"
FIRST_ROLE: Final = "first-role-not-user"
ROLES_NOT_ALTERNATING: Final = "roles-not-alternating"
LAST_ROLE: Final = "last-role-not-assistant"
EMPTY_ANSWER: Final = "empty-answer"
UNFINISHED: Final = "unfinished-answer"
NOT_ENCODABLE: Final = "not-encodable"
TOO_LONG: Final = "too-long"
EXACT_DUPLICATE: Final = "exact-duplicate"
SEEN_BEFORE: Final = "seen-before"
LICENCE: Final = "licence-kept-out"
WITHDRAWN: Final = "withdrawn"
GONE: Final = "gone-in-new-version"

NO_FAULT: Final = frozenset({EXACT_DUPLICATE, SEEN_BEFORE, LICENCE, WITHDRAWN})
"""Reasons that say nothing against the file that a row is in."""

# Of rows that are kept.
REPEATED_ID: Final = "repeated-id"
MISNAMED_IMAGE: Final = "misnamed-image"
ESCAPED_NAME: Final = "escaped-file-name"
