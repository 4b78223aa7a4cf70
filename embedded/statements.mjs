// What a statement is, by PostgreSQL's own lexical rules, and which ones the analyst may send.
// The analyst shares one session with the hub, begun by a superuser, so this is a positive list: one
// is refused unless its first word is known to be harmless. Rights (role analyst, read-only
// transactions, revoked functions) stand behind it.
//
// Text comes in as latin1, one character per byte; bytes above 127 are letters to PostgreSQL.

const SPACE = /[ \t\n\r\f\v]+|--[^\n\r]*/y;
const WORD = /[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*/y;
const DOLLAR_QUOTE = /\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$/y;

class Unreadable extends Error {}

/** The end of the nested comment that starts at `at`. */
function commentEnd(text, at) {
  const mark = /\/\*|\*\//g;
  mark.lastIndex = at;
  for (let depth = 0, found; (found = mark.exec(text)); ) {
    depth += found[0] === "/*" ? 1 : -1;
    if (depth === 0) return mark.lastIndex;
  }
  throw new Unreadable("an unterminated comment");
}

/** The end of the quoted text whose opening quote is at `at`. */
function quoteEnd(text, at, { backslashes }) {
  const quote = text[at];
  for (let i = at + 1; i < text.length; i++) {
    if (backslashes && text[i] === "\\") i++;
    else if (text[i] === quote) {
      if (text[i + 1] !== quote) return i + 1;
      i++;
    }
  }
  throw new Unreadable("an unterminated quoted text");
}

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0];
}

/**
 * Splits at top-level semicolons. Each statement: `start`, `end` and `tokens`, where a token is
 * `{kind: "word" | "string" | "name" | "mark", text}` and words are in lower case.
 * Throws for text whose end of a quote is not certain.
 */
export function splitStatements(text) {
  const statements = [];
  let current = null;
  let at = 0;
  // An E'' literal goes on, backslashes and all, after white space with a newline and a quote.
  let afterEscapes = false;
  const add = (kind, end, value = text.slice(at, end)) => {
    current ??= { start: at, end, tokens: [] };
    current.tokens.push({ kind, text: value });
    current.end = at = end;
  };
  while (at < text.length) {
    const skipped = match(SPACE, text, at);
    if (skipped) {
      at += skipped.length;
      continue;
    }
    if (text.startsWith("/*", at)) {
      at = commentEnd(text, at);
      continue;
    }
    const char = text[at];
    if (afterEscapes && char === "'") throw new Unreadable("an E'' literal in several pieces");
    afterEscapes = false;
    const word = match(WORD, text, at);
    if (word) {
      const isEscaped = word.toLowerCase() === "e" && text[at + 1] === "'";
      if (isEscaped) {
        add("string", quoteEnd(text, at + 1, { backslashes: true }));
        afterEscapes = true;
      } else add("word", at + word.length, word.toLowerCase());
    } else if (char === "'") {
      const end = quoteEnd(text, at, { backslashes: false });
      add("string", end, text.slice(at + 1, end - 1).replaceAll("''", "'"));
    } else if (char === '"') {
      const end = quoteEnd(text, at, { backslashes: false });
      add("name", end, text.slice(at + 1, end - 1).replaceAll('""', '"'));
    } else if (char === "$" && match(DOLLAR_QUOTE, text, at)) {
      const tag = match(DOLLAR_QUOTE, text, at);
      const end = text.indexOf(tag, at + tag.length);
      if (end < 0) throw new Unreadable("an unterminated dollar quote");
      add("string", end + tag.length);
    } else if (char === ";") {
      if (current) statements.push(current);
      current = null;
      at++;
    } else add("mark", at + 1);
  }
  if (current) statements.push(current);
  return statements;
}

function trySplit(text) {
  try {
    return { statements: splitStatements(text) };
  } catch (problem) {
    if (!(problem instanceof Unreadable)) throw problem;
    return { unreadable: { sqlstate: "42601", text: `cannot read ${problem.message}` } };
  }
}

// Settings that only change how the analyst's own answers look. No timeout has an effect on this
// engine (the bridge has its own); drivers set them all the same.
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

// Settings that may be given the value they have anyway. The rules above hold for standard strings
// and for UTF-8 only: in other encodings a quote can be half of a character.
const FIXED_SETTINGS = new Map([
  ["standard_conforming_strings", /^(on|true|1|yes)$/i],
  ["client_encoding", /^(utf-?8|unicode|sql_ascii)$/i],
]);

export const isAllowedSetting = (name, value) =>
  ANALYST_SETTINGS.has(name.toLowerCase()) ||
  Boolean(FIXED_SETTINGS.get(name.toLowerCase())?.test(value));

const READING = new Set(
  "select with values table explain show fetch move close declare unlisten".split(" "),
);
const TRANSACTIONS = new Set("begin start commit end rollback abort savepoint release".split(" "));

const REFUSED = {
  sqlstate: "42501",
  text: "the analyst may only read",
  hint:
    "SELECT, WITH, VALUES, TABLE, EXPLAIN, SHOW, cursors, transactions and SET of display " +
    "settings are allowed.",
};

/** `{}`, or `{resets}` with a setting's name, for a SET that may run; null for one that may not. */
function analystSet(tokens) {
  let rest = tokens.slice(1);
  const scope = rest[0]?.kind === "word" && ["session", "local"].includes(rest[0].text);
  if (scope) rest = rest.slice(1);
  const words = rest.map((token) => (token.kind === "word" ? token.text : ""));
  if (words[0] === "transaction" || (words[0] === "characteristics" && words[1] === "as")) {
    // READ WRITE, and anything quoted, has no business here.
    return rest.every(({ kind, text }) => text !== "write" && kind !== "string") ? {} : null;
  }
  if (words[0] === "time" && words[1] === "zone") return {};
  if (words[0] === "names") {
    return isAllowedSetting("client_encoding", rest[1]?.text ?? "") ? {} : null;
  }
  const isAssignment = words[1] === "to" || rest[1]?.text === "=";
  if (!isAssignment || !words[0] || !isAllowedSetting(words[0], rest[2]?.text ?? "")) return null;
  return words[2] === "default" ? { resets: words[0] } : {};
}

/**
 * Whether an analyst's text may run: `{refusal}` or `{statements, setsSomething}`, where a
 * statement may carry `resets` (a setting's name) or `forgets` (all settings).
 */
export function judgeAnalyst(text) {
  const { statements, unreadable } = trySplit(text);
  if (unreadable) return { refusal: unreadable };
  let setsSomething = false;
  for (const statement of statements) {
    const { tokens } = statement;
    const first = tokens.find(({ kind, text: mark }) => kind !== "mark" || mark !== "(");
    const verb = first?.kind === "word" ? first.text : "";
    const has = (word) => tokens.some((token) => token.kind === "word" && token.text === word);
    const second = tokens[1]?.text.toLowerCase();
    let allowed = false;
    // A cursor WITH HOLD would outlive its transaction in the session that all share.
    if (READING.has(verb)) allowed = !(verb === "declare" && has("hold"));
    else if (TRANSACTIONS.has(verb)) allowed = !has("write") && !has("prepared");
    else if (verb === "deallocate") allowed = true;
    else if (verb === "discard") allowed = ["all", "plans", "sequences"].includes(second);
    else if (verb === "reset") {
      setsSomething = true;
      allowed = second === "all" || (tokens.length === 2 && ANALYST_SETTINGS.has(second));
      if (second !== "all") statement.resets = second;
      if (second === "time") [allowed, statement.resets] = [true, "timezone"];
    } else if (verb === "set") {
      setsSomething = true;
      const verdict = analystSet(tokens);
      allowed = verdict !== null;
      Object.assign(statement, verdict);
    }
    if (!allowed) return { refusal: REFUSED };
  }
  return { statements, setsSomething };
}

// Only these words make it necessary to look into the owner's or the hub's statement at all.
const NEEDS_A_LOOK = /copy|deallocate|discard|reset/i;

// PostgreSQL lets whoever is in this session become anybody by SET, as a superuser began it. Looked
// for in the bare text, so that no trick with quotes or encodings hides it; U&"" spells the letters
// of a name as numbers. The hub's own statements have none of these words.
const ROLE_WORDS = /\b(?:role|authorization|session_authorization)\b|u&/i;
const SET_WORDS = /\b(?:set|reset)\b/i;

const ROLE_REFUSED = {
  sqlstate: "42501",
  text: "the hub's connections may not change their role",
  hint: "The owner's address is in owner.json in the data directory.",
};

/** Like `judgeAnalyst`, for the owner: everything may run but what would trap the engine. */
export function judgeOwner(text) {
  if (!NEEDS_A_LOOK.test(text)) return {};
  const { statements, unreadable } = trySplit(text);
  // The engine itself says what is wrong with the text, but a COPY must not get that far.
  if (unreadable) return /copy/i.test(text) ? { refusal: unreadable } : {};
  for (const { tokens } of statements) {
    const words = tokens.map((token) => (token.kind === "word" ? token.text : ""));
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
  return { statements };
}

/** Like `judgeOwner`, for the hub, which besides keeps the rights that its role has. */
export function judgeHub(text) {
  return ROLE_WORDS.test(text) && SET_WORDS.test(text)
    ? { refusal: ROLE_REFUSED }
    : judgeOwner(text);
}
