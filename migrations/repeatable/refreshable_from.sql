-- Where a refresh may begin. It is called in the arguments of refresh_continuous_aggregate, so that
-- the edge is read by the statement that refreshes: no process that was paused in between refreshes
-- behind an edge that has moved meanwhile. A series without an edge is a fault: then the window is
-- empty, and the refresh fails instead of erasing.
CREATE OR REPLACE FUNCTION refreshable_from(series_name text, wanted timestamptz)
    RETURNS timestamptz LANGUAGE sql STABLE
    RETURN coalesce(
        (SELECT greatest(wanted, dropped_before) FROM series_edges WHERE series = series_name),
        'infinity');
COMMENT ON FUNCTION refreshable_from(text, timestamptz) IS
    'The earliest instant from which rollups of a series may be refreshed: behind it the series has '
    'been dropped, and a refresh would erase them.';
