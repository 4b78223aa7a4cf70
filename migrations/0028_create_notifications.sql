-- Who is told what: destinations, routes to them, what has been told of each item, and the messages
-- (docs/decisions/0034).

CREATE TABLE destinations (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    service text NOT NULL,
    source text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    last_sent_at timestamptz,
    last_failed_at timestamptz,
    failing_since timestamptz,
    last_error text,
    CONSTRAINT destinations_pkey PRIMARY KEY (id),
    CONSTRAINT destinations_name_once UNIQUE (name),
    CONSTRAINT destinations_source_known CHECK (source IN ('table', 'file', 'environment'))
);

-- A table of its own, which analysts may not read.
CREATE TABLE destination_addresses (
    destination_id bigint NOT NULL,
    sealed text NOT NULL,
    CONSTRAINT destination_addresses_pkey PRIMARY KEY (destination_id),
    CONSTRAINT destination_addresses_destination_fkey FOREIGN KEY (destination_id)
        REFERENCES destinations (id) ON DELETE CASCADE
);
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'analyst') THEN
        REVOKE ALL ON destination_addresses FROM analyst;
    END IF;
END $$;

-- A condition that is NULL is not part of the route.
CREATE TABLE notification_routes (
    id bigint GENERATED ALWAYS AS IDENTITY,
    name text NOT NULL,
    destination_id bigint NOT NULL,
    kinds text[],
    severities text[] NOT NULL,
    job_types text[],
    machines text[],
    digest text NOT NULL,
    minimum_age_seconds integer NOT NULL,
    repeat_hours integer,
    tells_recovery boolean NOT NULL,
    quiet_from time,
    quiet_to time,
    report_hour smallint NOT NULL,
    timezone text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    begun_at timestamptz,
    next_report_at timestamptz,
    CONSTRAINT notification_routes_pkey PRIMARY KEY (id),
    CONSTRAINT notification_routes_name_once UNIQUE (name),
    CONSTRAINT notification_routes_destination_fkey FOREIGN KEY (destination_id)
        REFERENCES destinations (id) ON DELETE CASCADE,
    CONSTRAINT notification_routes_digest_known CHECK (
        digest IN ('at_once', 'five_minutes', 'daily', 'weekly')),
    CONSTRAINT notification_routes_age CHECK (minimum_age_seconds >= 0),
    CONSTRAINT notification_routes_repeat CHECK (repeat_hours > 0),
    CONSTRAINT notification_routes_quiet CHECK ((quiet_from IS NULL) = (quiet_to IS NULL)),
    CONSTRAINT notification_routes_report_hour CHECK (report_hour BETWEEN 0 AND 23)
);
CREATE INDEX notification_routes_destination_idx ON notification_routes (destination_id);
COMMENT ON INDEX notification_routes_destination_idx IS 'The routes to a destination.';

-- Appended to by triggers, in the transaction that opens, changes or ends an item.
CREATE TABLE attention_changes (
    n bigint GENERATED ALWAYS AS IDENTITY,
    item_id bigint NOT NULL,
    change text NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT attention_changes_pkey PRIMARY KEY (n),
    CONSTRAINT attention_changes_known CHECK (change IN ('opened', 'worse', 'ended'))
);

-- With the owner's rights: who may acknowledge items need not be able to write this table.
CREATE FUNCTION note_opened_items() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO attention_changes (item_id, change)
    SELECT id, 'opened' FROM inserted WHERE NOT is_ended ORDER BY id;
    RETURN NULL;
END $$;
CREATE FUNCTION note_changed_item() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO attention_changes (item_id, change)
    VALUES (NEW.id, CASE WHEN NEW.is_ended THEN 'ended' ELSE 'worse' END);
    RETURN NULL;
END $$;
CREATE TRIGGER note_opened_items AFTER INSERT ON attention
    REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION note_opened_items();
CREATE TRIGGER note_changed_item AFTER UPDATE ON attention
    FOR EACH ROW
    WHEN ((NEW.is_ended AND NOT OLD.is_ended) OR (NEW.rank < OLD.rank AND NOT NEW.is_ended))
    EXECUTE FUNCTION note_changed_item();

-- What a route has told of a condition, from its first item until it is over for good.
CREATE TABLE episodes (
    route_id bigint NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    item_id bigint NOT NULL,
    state text NOT NULL,
    due_at timestamptz,
    told_rank smallint,
    told_at timestamptz,
    returns integer NOT NULL DEFAULT 0,
    CONSTRAINT episodes_pkey PRIMARY KEY (route_id, kind, subject),
    CONSTRAINT episodes_route_fkey FOREIGN KEY (route_id)
        REFERENCES notification_routes (id) ON DELETE CASCADE,
    CONSTRAINT episodes_state_known CHECK (state IN ('waiting', 'told', 'ending'))
) WITH (fillfactor = 70);
CREATE INDEX episodes_due_idx ON episodes (due_at) WHERE due_at IS NOT NULL;
COMMENT ON INDEX episodes_due_idx IS 'The task notify: what is to be told next.';

CREATE TABLE notifications (
    id bigint GENERATED ALWAYS AS IDENTITY,
    destination_id bigint NOT NULL,
    route_id bigint,
    event text NOT NULL,
    severity text NOT NULL,
    subject text NOT NULL,
    body text NOT NULL,
    html text,
    items jsonb NOT NULL DEFAULT '[]',
    state text NOT NULL DEFAULT 'waiting',
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL,
    give_up_at timestamptz NOT NULL,
    claimed_until timestamptz,
    claim text,
    settled_at timestamptz,
    error text,
    CONSTRAINT notifications_pkey PRIMARY KEY (id),
    CONSTRAINT notifications_destination_fkey FOREIGN KEY (destination_id)
        REFERENCES destinations (id) ON DELETE CASCADE,
    CONSTRAINT notifications_route_fkey FOREIGN KEY (route_id)
        REFERENCES notification_routes (id) ON DELETE SET NULL,
    CONSTRAINT notifications_event_known CHECK (
        event IN ('opened', 'recovered', 'open', 'digest', 'report', 'test')),
    CONSTRAINT notifications_severity_known CHECK (severity IN ('critical', 'warning', 'info')),
    CONSTRAINT notifications_state_known CHECK (
        state IN ('waiting', 'sent', 'dead', 'merged')),
    CONSTRAINT notifications_settled_once CHECK ((state = 'waiting') = (settled_at IS NULL)),
    CONSTRAINT notifications_claimed CHECK ((claim IS NULL) = (claimed_until IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX notifications_waiting_idx ON notifications (destination_id, id) WHERE state = 'waiting';
COMMENT ON INDEX notifications_waiting_idx IS 'The task notify: messages that are to be sent.';
CREATE INDEX notifications_settled_idx ON notifications (settled_at) WHERE settled_at IS NOT NULL;
COMMENT ON INDEX notifications_settled_idx IS 'The task notify: old messages, which it deletes.';
CREATE INDEX notifications_route_idx ON notifications (route_id, created_at);
COMMENT ON INDEX notifications_route_idx IS 'How many messages of a route there were lately.';
