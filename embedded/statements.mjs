// Splits SQL by PostgreSQL's lexical rules and decides which statements a user may send. The analyst
// shares one session with the hub, started by a superuser, so this is an allowlist: a statement is
// refused unless its first word is known to be harmless. Rights (role analyst, read-only
// transactions, revoked functions) are the second line of defence.
//
// The text is latin1, one character per byte; bytes above 127 are letters to PostgreSQL.

/**
 * @import { ErrorReport } from "./protocol.mjs"
 *
 * @typedef {object} Token
 * @property {"word" | "string" | "name" | "symbol"} kind
 * @property {string} text words in lower case
 * @property {number} start
 * @property {number} end
 * @typedef {object} Statement
 * @property {number} start
 * @property {number} end
 * @property {Token[]} tokens
 * @property {string} [resets] the setting that it resets
 * @property {{start: number, end: number, value: number[]}} [jit] a call of set_config for jit, which
 *   has no effect on this engine, and its value
 * @typedef {object} CheckResult
 * @property {ErrorReport} [refusal] why the text may not run
 * @property {Statement[]} [statements]
 * @property {boolean} [changesSettings]
 */

const SPACE = /[ \t\n\r\f\v]+|--[^\n\r]*/y;
const WORD = /[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*/y;
const DOLLAR_QUOTE = /\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$/y;

class LexicalError extends Error {}

/**
 * The end of the nested comment that starts at `at`.
 * @param {string} text
 * @param {number} at
 */
function commentEnd(text, at) {
  let depth = 0;
  for (const delimiter of text.slice(at).matchAll(/\/\*|\*\//g)) {
    depth += delimiter[0] === "/*" ? 1 : -1;
    if (depth === 0) return at + delimiter.index + 2;
  }
  throw new LexicalError("an unterminated comment");
}

/**
 * The end of the quoted text whose opening quote is at `at`.
 * @param {string} text
 * @param {number} at
 * @param {{backslashes: boolean}} options
 */
function quoteEnd(text, at, { backslashes }) {
  const quote = text[at];
  for (let i = at + 1; i < text.length; i++) {
    if (backslashes && text[i] === "\\") i++;
    else if (text[i] === quote) {
      if (text[i + 1] !== quote) return i + 1;
      i++;
    }
  }
  throw new LexicalError("an unterminated quoted text");
}

/** @param {RegExp} pattern sticky @param {string} text @param {number} at */
function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

/**
 * The end of the white space and comments at `at`.
 * @param {string} text
 * @param {number} at
 */
function spaceEnd(text, at) {
  let end = at;
  for (;;) {
    const space = match(SPACE, text, end);
    if (space) end += space.length;
    else if (text.startsWith("/*", end)) end = commentEnd(text, end);
    else return end;
  }
}

/**
 * The token at `at`, where there is no white space.
 * @param {string} text
 * @param {number} at
 * @returns {{token: Token, isEscaped?: boolean}} `isEscaped`: an E'' literal
 */
function readToken(text, at) {
  const word = match(WORD, text, at)?.toLowerCase();
  if (word === "e" && text[at + 1] === "'") {
    const end = quoteEnd(text, at + 1, { backslashes: true });
    return {
      token: { kind: "string", text: text.slice(at, end), start: at, end },
      isEscaped: true,
    };
  }
  if (word) return { token: { kind: "word", text: word, start: at, end: at + word.length } };
  const quote = text[at];
  if (quote === "'" || quote === '"') {
    const end = quoteEnd(text, at, { backslashes: false });
    const value = text.slice(at + 1, end - 1).replaceAll(quote + quote, quote);
    return { token: { kind: quote === "'" ? "string" : "name", text: value, start: at, end } };
  }
  const tag = match(DOLLAR_QUOTE, text, at);
  if (!tag) return { token: { kind: "symbol", text: quote, start: at, end: at + 1 } };
  const start = text.indexOf(tag, at + tag.length);
  if (start < 0) throw new LexicalError("an unterminated dollar quote");
  const end = start + tag.length;
  return { token: { kind: "string", text: text.slice(at, end), start: at, end } };
}

/**
 * Splits at top-level semicolons. Throws LexicalError where the end of a quote is uncertain.
 * @param {string} text
 */
export function splitStatements(text) {
  /** @type {Statement[]} */
  const statements = [];
  /** @type {Statement | null} */
  let current = null;
  // An E'' literal continues, with backslashes, after white space with a newline and a quote.
  let isAfterEscaped = false;
  for (let at = spaceEnd(text, 0); at < text.length; at = spaceEnd(text, at)) {
    if (isAfterEscaped && text[at] === "'") {
      throw new LexicalError("an E'' literal in several parts");
    }
    const { token, isEscaped = false } = readToken(text, at);
    isAfterEscaped = isEscaped;
    if (token.kind === "symbol" && token.text === ";") current = null;
    else {
      if (!current) {
        current = { start: at, end: token.end, tokens: [] };
        statements.push(current);
      }
      current.tokens.push(token);
      current.end = token.end;
    }
    at = token.end;
  }
  return statements;
}

/**
 * @param {string} text
 * @returns {{statements?: Statement[], unreadable?: ErrorReport}}
 */
function trySplit(text) {
  try {
    return { statements: splitStatements(text) };
  } catch (problem) {
    if (!(problem instanceof LexicalError)) throw problem;
    return { unreadable: { sqlstate: "42601", text: `cannot parse ${problem.message}` } };
  }
}

// Settings that only change the format of the analyst's results. Timeouts have no effect on this
// engine (the bridge has its own), but drivers set them.
export const ANALYST_SETTINGS = new Map(
  [
    "application_name",
    "bytea_output",
    "client_min_messages",
    "DateStyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "IntervalStyle",
    "lock_timeout",
    "search_path",
    "statement_timeout",
    "TimeZone",
  ].map((name) => [name.toLowerCase(), name]),
);

// Settings that may be set to the value they have. The rules above hold for standard strings
// and for UTF-8 only: in other encodings a quote can be half of a character.
const FIXED_SETTINGS = new Map([
  ["default_transaction_read_only", /^(on|true|1|yes)$/i],
  ["transaction_read_only", /^(on|true|1|yes)$/i],
  ["standard_conforming_strings", /^(on|true|1|yes)$/i],
  // As PostgreSQL reads it, only letters and digits count: asyncpg quotes the name.
  ["client_encoding", /^[^a-z0-9]*(utf[^a-z0-9]*8|unicode|sql[^a-z0-9]*ascii)[^a-z0-9]*$/i],
]);

/** @param {string} name @param {string} value */
export const isAllowedSetting = (name, value) =>
  ANALYST_SETTINGS.has(name.toLowerCase()) ||
  Boolean(FIXED_SETTINGS.get(name.toLowerCase())?.test(value));

const READING = new Set(
  "select with values table explain show fetch move close declare unlisten".split(" "),
);
const COPIED = new Set("select with values table".split(" "));
const TRANSACTIONS = new Set("begin start commit end rollback abort savepoint release".split(" "));

const READ_ONLY_ERROR = {
  sqlstate: "42501",
  text: 'role "analyst" may only read',
  hint:
    "SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW, COPY TO STDOUT, cursors, transactions and SET of " +
    "display settings are allowed.",
};

/** @param {Token | undefined} token */
const wordOf = (token) => (token?.kind === "word" ? token.text : "");

/** @param {Token[]} tokens */
function isAnalystSetAllowed(tokens) {
  const hasScope = ["session", "local"].includes(wordOf(tokens[1]));
  const rest = tokens.slice(hasScope ? 2 : 1);
  const [first, second] = rest.map(wordOf);
  if (first === "transaction" || (first === "characteristics" && second === "as")) {
    // Neither READ WRITE nor anything quoted.
    return rest.every(({ kind, text }) => text !== "write" && kind !== "string");
  }
  if (first === "time" && second === "zone") return true;
  if (first === "names") return isAllowedSetting("client_encoding", rest[1]?.text ?? "");
  const isAssignment = second === "to" || rest[1]?.text === "=";
  return isAssignment && first !== "" && isAllowedSetting(first, rest[2]?.text ?? "");
}

/**
 * The setting that SET … TO DEFAULT or RESET resets, if any.
 * @param {Token[]} tokens
 */
function resetSetting(tokens) {
  const words = tokens.map(wordOf);
  if (words[0] === "reset") {
    const name = tokens[1]?.text.toLowerCase();
    if (name === "all" || tokens.length > 3) return undefined;
    return name === "time" ? "timezone" : name;
  }
  const rest = words.slice(["session", "local"].includes(words[1]) ? 2 : 1);
  if (words[0] !== "set" || rest[2] !== "default") return undefined;
  return rest[0] === "time" ? "timezone" : rest[0];
}

/**
 * A call set_config('jit', value, false), as asyncpg makes it before it looks up a type.
 * @param {Token[]} tokens
 */
function jitCall(tokens) {
  const at = tokens.findIndex((token) => wordOf(token) === "set_config");
  const call = tokens.slice(Math.max(0, at)).map(({ text }) => text);
  if (at < 0 || call.slice(1, 4).join("") !== "(jit,") return undefined;
  const value = tokens[at + 4];
  const last = tokens[at + call.indexOf(")")];
  const next = tokens[at + call.indexOf(",", 4)];
  return (
    last && next && { start: tokens[at].start, end: last.end, value: [value.start, next.start] }
  );
}

/** @param {string} verb @param {Token[]} tokens */
function isAnalystStatementAllowed(verb, tokens) {
  const has = (/** @type {string} */ word) => tokens.some((token) => wordOf(token) === word);
  const second = tokens[1]?.text.toLowerCase();
  if (verb === "copy") return isCopyToStdout(tokens);
  if (verb === "explain" && has("execute")) return false; // a statement of another connection
  if (READING.has(verb)) return !(verb === "declare" && isHeld(tokens));
  if (TRANSACTIONS.has(verb)) return !has("write") && !has("prepared");
  if (verb === "deallocate") return true;
  if (verb === "discard") return ["all", "plans", "sequences"].includes(second);
  if (verb === "set") return isAnalystSetAllowed(tokens);
  if (verb !== "reset") return false;
  return ["all", "time"].includes(second) || (tokens.length === 2 && ANALYST_SETTINGS.has(second));
}

/**
 * Whether a DECLARE is WITH HOLD: such a cursor would outlive its transaction in the shared session.
 * @param {Token[]} tokens
 */
function isHeld(tokens) {
  const words = tokens.map(wordOf);
  const hold = words.indexOf("hold");
  return words[hold - 1] === "with" && !words.slice(0, hold).includes("for");
}

/**
 * Whether this is COPY of a table or a reading statement TO STDOUT: not to a file or a program.
 * @param {Token[]} tokens
 */
function isCopyToStdout(tokens) {
  let depth = 0;
  for (const [i, token] of tokens.entries()) {
    if (token.kind === "symbol" && token.text === "(") depth += 1;
    else if (token.kind === "symbol" && token.text === ")") depth -= 1;
    else if (depth === 0 && wordOf(token) === "from") return false;
    else if (depth === 0 && wordOf(token) === "to") {
      const isQuery = tokens[1].kind === "symbol";
      const verb = wordOf(tokens.slice(1, i).find(({ kind }) => kind !== "symbol"));
      return (!isQuery || COPIED.has(verb)) && wordOf(tokens[i + 1]) === "stdout";
    }
  }
  return false;
}

/**
 * Whether an analyst's text may run.
 * @param {string} text
 * @returns {CheckResult}
 */
export function checkAnalyst(text) {
  const { statements = [], unreadable } = trySplit(text);
  if (unreadable) return { refusal: unreadable };
  let changesSettings = false;
  for (const statement of statements) {
    const { tokens } = statement;
    const verb = wordOf(
      tokens.find(({ kind, text: symbol }) => kind !== "symbol" || symbol !== "("),
    );
    if (!isAnalystStatementAllowed(verb, tokens)) return { refusal: READ_ONLY_ERROR };
    changesSettings ||= ["set", "reset"].includes(verb);
    statement.resets = resetSetting(tokens);
    statement.jit = jitCall(tokens);
  }
  return { statements, changesSettings };
}

// Statements of the owner and the hub are parsed only if they have one of these words.
const NEEDS_PARSING = /copy|deallocate|discard|hold|prepare|execute|set_config|\b(?:re)?set\b/i;
// What may change settings of the session, besides a call of set_config.
const SETTING = new Set("set reset do call".split(" "));

/** @param {Token[]} tokens */
function changesSettings(tokens) {
  const [verb, second] = tokens.map(wordOf);
  return SETTING.has(verb) ? second !== "local" : tokens.some((t) => t.text === "set_config");
}

// As a superuser started this session, PostgreSQL lets every role in it become any other by SET.
// Searched in the raw text, so that quotes and encodings cannot hide it; U&"" spells the letters
// of a name as numbers. The hub's own statements have none of these words.
const ROLE_WORDS = /\b(?:role|authorization|session_authorization)\b|u&/i;
const SET_WORDS = /\b(?:set|reset)\b/i;

const ROLE_CHANGE_ERROR = {
  sqlstate: "42501",
  text: "connections of the hub may not change their role",
  hint: "The owner's address is in owner.json in the data directory.",
};

/**
 * Like `checkAnalyst`, for the owner: everything may run except what would crash the engine.
 * @param {string} text
 * @returns {CheckResult}
 */
export function checkOwner(text) {
  if (!NEEDS_PARSING.test(text)) return {};
  const { statements = [], unreadable } = trySplit(text);
  // The engine reports the error itself, but must not get a COPY.
  if (unreadable) return /copy/i.test(text) ? { refusal: unreadable } : { changesSettings: true };
  for (const statement of statements) {
    const { tokens } = statement;
    statement.resets = resetSetting(tokens);
    const words = tokens.map(wordOf);
    if (words[0] === "declare" && isHeld(tokens)) {
      const text = "cursors WITH HOLD are not supported by the embedded engine";
      return { refusal: { sqlstate: "0A000", text, hint: "All connections would share them." } };
    }
    const readsStdin = words.some((word, i) => word === "from" && words[i + 1] === "stdin");
    if (words[0] === "copy" && readsStdin) {
      return {
        refusal: {
          sqlstate: "0A000",
          text: "COPY FROM STDIN is not supported by the embedded engine",
          hint: "Use INSERT ... SELECT FROM unnest(...), or a TimescaleDB server (DATABASE_URL).",
        },
      };
    }
  }
  return { statements, changesSettings: statements.some((one) => changesSettings(one.tokens)) };
}

/**
 * Like `checkOwner`, for the hub, which must also keep its role.
 * @param {string} text
 * @returns {CheckResult}
 */
export function checkHub(text) {
  return ROLE_WORDS.test(text) && SET_WORDS.test(text)
    ? { refusal: ROLE_CHANGE_ERROR }
    : checkOwner(text);
}
