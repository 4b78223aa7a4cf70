-- The issued tokens, without their text.

-- name: insert_token
INSERT INTO tokens (id, name, scope, job_types, created_at, expires_at)
VALUES (%(id)s, %(name)s, %(scope)s, %(job_types)s, %(created_at)s, %(expires_at)s)

-- name: read_tokens
SELECT id, name, scope, job_types, created_at, expires_at, revoked_at
FROM tokens
ORDER BY created_at, id

-- The first revocation stays.
-- name: revoke_token
UPDATE tokens SET revoked_at = coalesce(revoked_at, now())
WHERE id = %(id)s
RETURNING id, name, scope, job_types, created_at, expires_at, revoked_at

-- Expired tokens are refused anyway; a day longer, because clocks differ.
-- name: read_revoked_ids
SELECT id FROM tokens
WHERE revoked_at IS NOT NULL AND expires_at > now() - INTERVAL '1 day'
