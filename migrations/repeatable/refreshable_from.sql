-- Where a refresh may begin. Called in the arguments of refresh_continuous_aggregate, so that the
-- statement that refreshes also reads the edge: a paused process cannot refresh behind an edge that
-- has moved in the meantime. If a series has no edge, the window is empty and the refresh fails
-- instead of erasing data.
CREATE OR REPLACE FUNCTION refreshable_from(series_name text, wanted timestamptz)
    RETURNS timestamptz LANGUAGE sql STABLE
    RETURN coalesce(
        (SELECT greatest(wanted, dropped_before) FROM series_edges WHERE series = series_name),
        'infinity');
COMMENT ON FUNCTION refreshable_from(text, timestamptz) IS
    'The earliest instant from which rollups of a series may be refreshed: older rows of the '
    'series were dropped, and a refresh would erase the rollups.';
