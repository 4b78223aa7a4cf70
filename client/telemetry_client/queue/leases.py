"""Which entries of the file may be sent, and who holds the others. SQL only.

The statements take the parameters now, horizon, owner and thread.
"""

from __future__ import annotations

# No hold is longer. One that seems to be was made before a restart set the machine's clock to 0.
LONGEST_HOLD_SECONDS = 3_600.0

HELD = "held_until > :now AND held_until <= :horizon"
LEASED = f"leased_by IS NOT NULL AND {HELD}"
# A stream does not go beyond its first entry that waits or that another sender has leased.
READY = f"""
WITH blocked AS (
    SELECT stream, min(id) AS first_id FROM telemetry_queue
    WHERE stream IS NOT NULL AND {HELD}
      AND NOT (leased_by IS :owner AND leased_thread IS :thread)
    GROUP BY stream
)
SELECT id, payload, tries, queued_at FROM telemetry_queue AS entry
WHERE id > :after AND NOT ({HELD})
  AND NOT EXISTS (
      SELECT 1 FROM blocked WHERE blocked.stream = entry.stream AND blocked.first_id < entry.id)
ORDER BY id LIMIT :limit
"""
LEASE = """
UPDATE telemetry_queue SET held_until = :until, leased_by = :owner, leased_thread = :thread,
    handed_out = handed_out + 1
WHERE id = :id
"""
RELEASE = """
UPDATE telemetry_queue SET held_until = 0, leased_by = NULL, leased_thread = NULL
WHERE id = :id AND leased_by = :owner
"""
WAIT = """
UPDATE telemetry_queue SET tries = :tries, held_until = :until, leased_by = NULL,
    leased_thread = NULL
WHERE id = :id
"""
# An entry, unless our lease has ended and another sender has one now.
OURS_OR_FREE = f"""
SELECT id, stream, payload, rank, tries FROM telemetry_queue
WHERE id = :id AND (leased_by IS :owner OR NOT ({LEASED}))
"""
