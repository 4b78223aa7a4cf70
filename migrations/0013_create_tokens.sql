-- The tokens that were made: who may send or read, until when. No secret is in it: a token is signed
-- with a key that the database never sees. The hub asks it for the revoked ones only.

CREATE TABLE tokens (
    id text NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    job_types text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT tokens_pkey PRIMARY KEY (id),
    CONSTRAINT tokens_scope_known CHECK (scope IN ('ingest', 'read', 'admin')),
    CONSTRAINT tokens_types_of_ingest CHECK (scope = 'ingest' OR job_types = '{}'),
    CONSTRAINT tokens_ends_later CHECK (expires_at > created_at)
);
COMMENT ON TABLE tokens IS
    'One row per token that was made. The token itself is kept nowhere.';
COMMENT ON COLUMN tokens.id IS 'By which it is revoked; the token says it (its claim jti).';
COMMENT ON COLUMN tokens.name IS 'Who holds it, as whoever made it wrote.';
COMMENT ON COLUMN tokens.scope IS 'ingest (may push), read (may look) or admin (both).';
COMMENT ON COLUMN tokens.job_types IS
    'The only types of jobs that an ingest token may push; empty: all of them, and nodes.';
COMMENT ON COLUMN tokens.created_at IS 'When it was made, by the clock of the machine that made it.';
COMMENT ON COLUMN tokens.expires_at IS 'When it ends, by the clock of whoever reads it.';
COMMENT ON COLUMN tokens.revoked_at IS 'Since when it is refused, database''s clock; NULL: it is not.';
