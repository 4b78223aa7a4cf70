// The one PostgreSQL session that all connections share: its settings and rights, and how it switches
// to the analyst and the owner and back. Otherwise it is the hub's, at no extra statement.

/** @import { Engine } from "./engine.mjs" */

import { ANALYST_SETTINGS } from "./statements.mjs";

// `RESET ALL` restores what PGlite starts with: search_path pg_catalog, no sequential scans, debug
// messages. So this runs at start and after every reset.
const DEFAULTS = `
  SET search_path TO public;
  SET TimeZone TO 'UTC';
  SET enable_seqscan TO on;
  SET client_min_messages TO notice;
  SET log_min_messages TO fatal;
  SET client_encoding TO 'UTF8'`;

// The bridge switches to these roles; they cannot log in. The hub's migrations grant their rights on
// tables.
/** @type {Record<string, string>} */
const SESSION_ROLES = { hub: "telemetry_hub", owner: "postgres", analyst: "analyst" };
/** @param {string} user */
export const sessionRole = (user) => SESSION_ROLES[user];

// Revokes rights of PUBLIC with which a role could escape its own: in a session that a superuser
// started, a role that may set session_authorization can become any role. The owner is that superuser
// and keeps all rights.
// Only what is still granted is revoked: every REVOKE writes a catalog row, even one without effect.
const RIGHTS = `
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
        -- Functions that change the shared session, block it, run a text as SQL, or write outside
        -- of tables.
        WHEN p.pronamespace = 'pg_catalog'::regnamespace THEN p.proname ~ ('^(set_config|pg_sleep.*'
          '|pg_(try_)?advisory_(xact_)?lock.*|lo_.*|loread|lowrite|pg_notify'
          '|pg_(cancel|terminate)_backend|pg_reload_conf|pg_export_snapshot|pg_rotate_logfile'
          '|pg_logical_emit_message|pg_log_backend_memory_contexts'
          '|(query|cursor)_to_xml.*|ts_stat|ts_rewrite)$')
        -- TimescaleDB's functions that manage rather than read.
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

/** @param {string} user */
const setAuthorization = (user) => `SET SESSION AUTHORIZATION ${SESSION_ROLES[user]}`;
/** @param {string} value */
const literal = (value) => `'${value.replaceAll("'", "''")}'`;

/** Literals below rely on standard_conforming_strings, which the session starts with. */
export class Session {
  #engine;
  #settingNames = [...ANALYST_SETTINGS.values()];
  #defaults;

  /** @param {Engine} engine */
  constructor(engine) {
    this.#engine = engine;
    engine.query(DEFAULTS);
    // No library is preloaded here. Without this one, hypertables refuse every INSERT.
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
    this.serverVersion = String(serverVersion);
    this.timescaleVersion = String(timescaleVersion);
    engine.query(setAuthorization("hub"));
  }

  #readSettings() {
    const columns = this.#settingNames.map((name) => `current_setting(${literal(name)})`);
    const [values] = this.#engine.query(`SELECT ${columns.join(", ")}`);
    return new Map(this.#settingNames.map((name, i) => [name, values[i] ?? ""]));
  }

  /**
   * The initial value of one of the analyst's settings.
   * @param {string} name
   */
  defaultOf(name) {
    return this.#defaults.get(ANALYST_SETTINGS.get(name.toLowerCase()) ?? name);
  }

  /** After RESET ALL by the hub, which may not set all of them itself. */
  restoreDefaults() {
    this.asOwner(() => this.#engine.query(DEFAULTS));
  }

  /**
   * Runs `work` of the bridge, outside of transactions, with all rights.
   * @template T
   * @param {() => T} work
   */
  asOwner(work) {
    this.switchToOwner();
    const result = work();
    this.restoreFromOwner();
    return result;
  }

  /**
   * The owner runs the tasks. Without sequential scans a refresh reads its minute by the BRIN index:
   * the tables are never analyzed, so the planner would read the whole chunk.
   */
  switchToOwner() {
    this.#engine.query(`${setAuthorization("owner")}; SET enable_seqscan TO off`);
  }

  /** Keeps the owner's settings, which the hub shares. */
  restoreFromOwner() {
    this.#engine.query(`SET ROLE NONE; ${setAuthorization("hub")}; SET enable_seqscan TO on`);
  }

  /**
   * Throws StatementError for an invalid setting.
   * @param {Map<string, string>} settings values by name
   */
  switchToAnalyst(settings) {
    const all = [...settings, ["default_transaction_read_only", "on"]];
    // set_config takes any text as a value, while SET would take some of it as SQL. The analyst may
    // not call set_config: so first the settings, then the role.
    const calls = all.map(
      ([name, value]) => `set_config(${literal(name)}, ${literal(value)}, false)`,
    );
    // The hub may not call it either. An invalid value undoes everything: it is one transaction.
    this.#engine.query(
      `${setAuthorization("owner")}; SELECT ${calls.join(", ")}; ${setAuthorization("analyst")}`,
    );
  }

  /** The settings, by name, that differ from those of a new session. */
  changedSettings() {
    const changed = [...this.#readSettings()];
    return new Map(changed.filter(([name, value]) => value !== this.#defaults.get(name)));
  }

  restoreFromAnalyst() {
    // By name: in a session without a login, RESET SESSION AUTHORIZATION does nothing.
    this.#engine.query(
      `${setAuthorization("owner")}; RESET ALL; ${DEFAULTS}; ${setAuthorization("hub")}`,
    );
  }
}
