-- How far the clock of a job's sender is ahead of the hub's: its absences are found in the series, which
-- has the sender's times, and readers are told.
ALTER TABLE jobs ADD COLUMN clock_skew_seconds double precision;
