// The one PostgreSQL session that all connections share: what it is told at start, and how it is
// lent to the analyst and to the owner and taken back. At other times it is the hub's, without a
// statement more.

import { ANALYST_SETTINGS } from "./statements.mjs";

// `RESET ALL` gives what PGlite started with: search_path pg_catalog, sequential scans switched
// off, debug messages. So this runs at start and after everything that resets.
const DEFAULTS = `
  SET search_path TO public;
  SET TimeZone TO 'UTC';
  SET enable_seqscan TO on;
  SET client_min_messages TO notice;
  SET log_min_messages TO fatal;
  SET client_encoding TO 'UTF8'`;

// Whoever is not the owner has these: roles that are no logins, the bridge lends them. Their rights
// on tables are given by the hub's migrations.
const SESSION_ROLES = { hub: "telemetry_hub", owner: "postgres", analyst: "analyst" };
export const sessionRole = (user) => SESSION_ROLES[user];

// What PostgreSQL gives everybody and would let a role out of its rights here: in a session that a
// superuser began, whoever may set session_authorization becomes any role. No REVOKE touches the
// owner, who is that superuser.
// Only what is still granted is revoked: a REVOKE writes its catalogue row even when idle.
const RIGHTS = String.raw`
DO $$
DECLARE
  function regprocedure;
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'analyst') THEN
    CREATE ROLE analyst NOLOGIN;
  END IF;
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'telemetry_hub') THEN
    CREATE ROLE telemetry_hub NOLOGIN;
  END IF;
  FOR function IN
    SELECT p.oid::regprocedure
    FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) granted
    WHERE granted.grantee = 0
      AND p.prokind = 'f'
      AND CASE
        -- What would change the shared session, stop everybody, run a text as SQL, or write
        -- outside of tables.
        WHEN p.pronamespace = 'pg_catalog'::regnamespace THEN p.proname ~ ('^(set_config|pg_sleep.*'
          '|pg_(try_)?advisory_(xact_)?lock.*|lo_.*|loread|lowrite|pg_notify'
          '|pg_(cancel|terminate)_backend|pg_reload_conf|pg_export_snapshot|pg_rotate_logfile'
          '|pg_logical_emit_message|pg_log_backend_memory_contexts'
          '|(query|cursor)_to_xml.*|ts_stat|ts_rewrite)$')
        -- TimescaleDB's own: what manages rather than reads.
        WHEN EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                     WHERE d.objid = p.oid AND d.deptype = 'e' AND e.extname = 'timescaledb')
        THEN p.provolatile = 'v' AND p.proname ~ ('^(add|alter|attach|cagg_migrate|cagg_validate'
          '|compress|convert|create|decompress|delete|detach|disable|drop|enable|freeze|unfreeze'
          '|hypertable_osm|merge|move|policy|process|recompress|refresh|remove|reorder|repair'
          '|restart|set|split|start|stop|timescaledb_(pre|post))_')
        ELSE false
      END
  LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
  END LOOP;
  IF has_language_privilege('analyst', 'plpgsql', 'USAGE') THEN
    REVOKE USAGE ON LANGUAGE plpgsql, sql FROM PUBLIC;
  END IF;
  IF has_database_privilege('analyst', current_database(), 'TEMP') THEN
    EXECUTE format('REVOKE TEMP, CREATE ON DATABASE %I FROM PUBLIC', current_database());
  END IF;
  IF has_table_privilege('analyst', 'pg_catalog.pg_settings', 'UPDATE') THEN
    REVOKE UPDATE ON pg_catalog.pg_settings FROM PUBLIC;
  END IF;
  IF has_schema_privilege('analyst', 'public', 'CREATE') THEN
    REVOKE CREATE ON SCHEMA public FROM PUBLIC;
  END IF;
END $$`;

// The owner is the tasks. A refresh is to read its minute by the index of block ranges: of tables
// that nobody analyses the planner would read the whole chunk, for longer with each hour.
const become = (user) => `SET SESSION AUTHORIZATION ${SESSION_ROLES[user]}`;
const literal = (value) => `'${value.replaceAll("'", "''")}'`;

/** Literals below rely on standard_conforming_strings, which the session starts with. */
export class Session {
  #engine;
  #settingNames = [...ANALYST_SETTINGS.values()];
  #defaults;

  constructor(engine) {
    this.#engine = engine;
    engine.query(DEFAULTS);
    // Nothing preloads libraries here. Until something loads this one, hypertables are bare
    // tables that refuse every INSERT.
    engine.query("LOAD 'timescaledb'");
    engine.query("CREATE EXTENSION IF NOT EXISTS timescaledb");
    engine.query(RIGHTS);
    this.#defaults = this.#readSettings();
    const [[serverVersion, timescaleVersion, hasCommunityFeatures]] = engine.query(
      `SELECT current_setting('server_version'), extversion, _timescaledb_functions.tsl_loaded()
       FROM pg_extension WHERE extname = 'timescaledb'`,
    );
    if (hasCommunityFeatures !== "t") {
      throw new Error("TimescaleDB's community features are missing");
    }
    Object.assign(this, { serverVersion, timescaleVersion });
    engine.query(become("hub"));
  }

  #readSettings() {
    const columns = this.#settingNames.map((name) => `current_setting(${literal(name)})`);
    const [values] = this.#engine.query(`SELECT ${columns.join(", ")}`);
    return new Map(this.#settingNames.map((name, i) => [name, values[i]]));
  }

  /** What a setting of the analyst's is at the start of each session. */
  defaultOf(name) {
    return this.#defaults.get(ANALYST_SETTINGS.get(name.toLowerCase()));
  }

  /** After a RESET ALL of the hub's, which may not set all of them itself. */
  restoreDefaults() {
    this.asOwner(() => this.#engine.query(DEFAULTS));
  }

  /** Runs `work`, of the bridge's own and outside of transactions, with all rights. */
  asOwner(work) {
    this.lendToOwner();
    const result = work();
    this.takeBackFromOwner();
    return result;
  }

  lendToOwner() {
    this.#engine.query(`${become("owner")}; SET enable_seqscan TO off`);
  }

  /** The owner's settings stay: they are the hub's too. */
  takeBackFromOwner() {
    this.#engine.query(`SET ROLE NONE; ${become("hub")}; SET enable_seqscan TO on`);
  }

  /** Lends the session. `settings` are values by name; throws StatementError on a bad one. */
  lendToAnalyst(settings) {
    const all = [...settings, ["default_transaction_read_only", "on"]];
    // set_config takes any text as a value. SET would take some of it as SQL, and the analyst
    // may not call set_config: so first the settings, then the role.
    const calls = all.map(
      ([name, value]) => `set_config(${literal(name)}, ${literal(value)}, false)`,
    );
    // The hub may not call it either. A bad value undoes all of it: it is one transaction.
    this.#engine.query(`${become("owner")}; SELECT ${calls.join(", ")}; ${become("analyst")}`);
  }

  /** The settings, by name, in which the session now differs from a new one. */
  changedSettings() {
    const changed = [...this.#readSettings()];
    return new Map(changed.filter(([name, value]) => value !== this.#defaults.get(name)));
  }

  takeBackFromAnalyst() {
    // By name: in a session that nobody logged in to, RESET SESSION AUTHORIZATION does nothing.
    this.#engine.query(`${become("owner")}; RESET ALL; ${DEFAULTS}; ${become("hub")}`);
  }
}
