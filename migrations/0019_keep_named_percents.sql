-- A percent that is known from later bytes is shown instead of the one that the sender named. The
-- latter counts again if the total becomes unknown, so the row must keep both.
ALTER TABLE jobs ADD COLUMN named_percent double precision;
ALTER TABLE job_disks ADD COLUMN named_percent double precision;
