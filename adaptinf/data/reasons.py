"""Every reason for which a row may be dropped: the keys of the counts that a stage reports."""

from __future__ import annotations

from typing import Final

MALFORMED_ROW: Final = "malformed-row"
UNSAFE_PATH: Final = "unsafe-path"
MISSING_IMAGE: Final = "missing-image"
EMPTY_IMAGE: Final = "empty-image"
UNDECODABLE_IMAGE: Final = "undecodable-image"
OVERSIZED_IMAGE: Final = "oversized-image"
IMAGE_MARK_MISMATCH: Final = "image-mark-mismatch"
NO_TURNS: Final = "no-turns"
UNKNOWN_ROLE: Final = "unknown-role"
FIRST_ROLE: Final = "first-role-not-user"
ROLES_NOT_ALTERNATING: Final = "roles-not-alternating"
LAST_ROLE: Final = "last-role-not-assistant"
EMPTY_ANSWER: Final = "empty-answer"
NOT_ENCODABLE: Final = "not-encodable"
TOO_LONG: Final = "too-long"
EXACT_DUPLICATE: Final = "exact-duplicate"
SEEN_BEFORE: Final = "seen-before"
