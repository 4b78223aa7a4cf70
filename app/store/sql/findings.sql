-- Opens, changes and ends items of attention. An item is open until `until`.

-- name: read_open
SELECT id, kind, severity, subject, series_id, job_id, node_id, vm_name, job_type, repository_id,
       since, summary, evidence
FROM attention
WHERE until IS NULL
  AND kind = ANY(%(kinds)s::text[])
  AND (%(subjects)s::text[] IS NULL OR subject = ANY(%(subjects)s::text[]))
  AND starts_with(subject, %(prefix)s)

-- name: open
INSERT INTO attention (
    kind, severity, rank, subject, series_id, job_id, node_id, vm_name, job_type, repository_id, since,
    noticed_at, summary, advice, evidence)
SELECT v.*
FROM unnest(
    %(kind)s::text[], %(severity)s::text[], %(rank)s::smallint[], %(subject)s::text[], %(series_id)s::bigint[],
    %(job_id)s::text[], %(node_id)s::text[], %(vm_name)s::text[], %(job_type)s::text[],
    %(repository_id)s::text[], %(since)s::timestamptz[], %(noticed_at)s::timestamptz[],
    %(summary)s::text[], %(advice)s::text[], %(evidence)s::jsonb[]) AS v
ON CONFLICT (kind, subject) WHERE until IS NULL DO NOTHING

-- A condition that became worse or is about another run now. Acknowledged is what was known.
-- name: change
UPDATE attention SET
    severity = v.severity, rank = v.rank, job_id = v.job_id, summary = v.summary, evidence = v.evidence,
    acknowledged_at = CASE WHEN v.rank >= attention.rank THEN acknowledged_at END,
    acknowledged_by = CASE WHEN v.rank >= attention.rank THEN acknowledged_by END
FROM unnest(%(id)s::bigint[], %(severity)s::text[], %(rank)s::smallint[], %(job_id)s::text[],
            %(summary)s::text[], %(evidence)s::jsonb[])
    AS v (id, severity, rank, job_id, summary, evidence)
WHERE attention.id = v.id

-- name: end
UPDATE attention SET until = greatest(since, %(now)s), is_ended = true
WHERE id = ANY(%(ids)s::bigint[]) AND until IS NULL
