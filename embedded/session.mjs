// The one PostgreSQL session that all connections share: its settings and rights, and how it switches
// to a connection's user and settings and back. Between exchanges it is the hub's, as a new session,
// so a connection of the hub that has set nothing needs no extra statement.

/** @import { Engine } from "./engine.mjs" */

import { ANALYST_SETTINGS } from "./statements.mjs";

// `RESET ALL` restores what PGlite starts with: search_path pg_catalog, no sequential scans, debug
// messages. So this runs at start and after every reset. The names are those of pg_settings.
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
          '|pg_prepared_statement' -- which has those of other connections
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

// The engine lacks the libraries that convert text to other encodings, and crashes where one is asked
// for: by a function, COPY or client_encoding. Without an entry here PostgreSQL says that there is none.
const NO_CONVERSIONS = "DELETE FROM pg_catalog.pg_conversion";

/** @param {string} user */
const setAuthorization = (user) => `SET SESSION AUTHORIZATION ${SESSION_ROLES[user]}`;
/** @param {string} value */
const literal = (value) => `'${value.replaceAll("'", "''")}'`;

/**
 * What a user's connection has without setting it. The owner runs the tasks: without sequential scans
 * a refresh reads its minute by the BRIN index, while the planner, which never sees an ANALYZE, would
 * read the whole chunk.
 * @type {Record<string, Map<string, string>>}
 */
const USER_SETTINGS = {
  hub: new Map(),
  owner: new Map([["enable_seqscan", "off"]]),
  analyst: new Map([["default_transaction_read_only", "on"]]),
};

/** Literals below rely on standard_conforming_strings, which the session starts with. */
export class Session {
  #engine;
  #own = "";
  #defaults;

  /** @param {Engine} engine @param {{refuseAnalystsSeconds: number}} options */
  constructor(engine, { refuseAnalystsSeconds }) {
    this.#engine = engine;
    if (refuseAnalystsSeconds > 0) {
      const until = new Date(Date.now() + refuseAnalystsSeconds * 1000).toISOString();
      this.#own = `; SET hub.analysts_refused_until TO '${until}'`; // for /health
    }
    engine.query(DEFAULTS + this.#own);
    // No library is preloaded here. Without this one, hypertables refuse every INSERT.
    engine.query("LOAD 'timescaledb'");
    engine.query("CREATE EXTENSION IF NOT EXISTS timescaledb");
    engine.query(RIGHTS);
    engine.query(NO_CONVERSIONS);
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

  /**
   * What was set in this session, by lower-case name. Without role and authorization, which the view
   * does not show, and the characteristics of a transaction, which end with it.
   */
  #readSettings() {
    const rows = this.#engine.query(
      `SELECT lower(name), setting FROM pg_catalog.pg_settings
       WHERE source = 'session'
         AND name NOT IN ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable')`,
    );
    return new Map(rows.map(([name, value]) => [String(name), value ?? ""]));
  }

  /**
   * What a setting has in a new connection of `user`, if that is not the engine's own default.
   * @param {string} user
   * @param {string} name
   */
  defaultOf(user, name) {
    return USER_SETTINGS[user].get(name.toLowerCase()) ?? this.#defaults.get(name.toLowerCase());
  }

  /**
   * Runs `work` of the bridge, outside of transactions, with all rights.
   * @template T
   * @param {() => T} work
   */
  asOwner(work) {
    this.enter("owner", new Map());
    const result = work();
    this.leave();
    return result;
  }

  /**
   * Gives the session a user's rights and a connection's settings, by name. Throws StatementError for
   * an invalid setting.
   * @param {string} user
   * @param {Map<string, string>} settings
   */
  enter(user, settings) {
    // set_config takes any text as a value, while SET would take some of it as SQL. The analyst and
    // the hub may not call it: so first the settings, then the role. An invalid value undoes
    // everything: it is one transaction.
    const calls = [...new Map([...USER_SETTINGS[user], ...settings])].map(
      ([name, value]) => `set_config(${literal(name)}, ${literal(value)}, false)`,
    );
    const set = calls.length ? `SELECT ${calls.join(", ")};` : "";
    this.#engine.query(`${setAuthorization("owner")}; ${set} ${setAuthorization(user)}`);
  }

  /**
   * The settings, by name, that differ from those of a new connection of `user`.
   * @param {string} user
   */
  changedSettings(user) {
    const changed = [...this.#readSettings()].filter(
      ([name, value]) => value !== this.defaultOf(user, name),
    );
    // The second line of defence: the analyst's are set again with the owner's rights.
    if (user !== "analyst") return new Map(changed);
    return new Map(changed.filter(([name]) => ANALYST_SETTINGS.has(name)));
  }

  /** Makes the session the hub's again. */
  leave() {
    // By name: in a session without a login, RESET SESSION AUTHORIZATION does nothing.
    this.#engine.query(
      `${setAuthorization("owner")}; SET ROLE NONE; RESET ALL; ${DEFAULTS}${this.#own}; ${setAuthorization("hub")}`,
    );
  }
}
