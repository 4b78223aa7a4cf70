/** Types for JSDoc in the dashboard: the API's responses and what several modules share. */

// The API. `Instant`: RFC 3339, UTC.

type Instant = string;
type JobStatus = "pending" | "running" | "stalled" | "completed" | "failed" | "cancelled";
type ByStatus = Record<JobStatus, number>;
/** Of a completed run. */
type RunResult = "good" | "warning";
type ByResult = Record<RunResult, number>;

interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** The hub's estimate for a live job; `seconds` is null for a `reason`. */
interface TimeLeft {
  seconds: number | null;
  low: number | null;
  high: number | null;
  basis: "rate" | "history" | "percent" | null;
  reason: string | null;
}

interface Job {
  id: number;
  job_id: string;
  run: number;
  /** How many the job has. */
  runs: number;
  job_type: string;
  vm_name: string | null;
  repository_id: string | null;
  backup_type: string | null;
  status: JobStatus;
  /** Null: not completed, or not judged yet. */
  result: RunResult | null;
  current_phase: string | null;
  bytes_transferred: number;
  /** Null or 0: not known. */
  total_bytes: number | null;
  transfer_speed_bps: number | null;
  speed_source: SpeedSource | null;
  eta_seconds: number | null;
  hub_eta: TimeLeft | null;
  progress_percent: number | null;
  error_message: string | null;
  warnings: string[];
  created_at: Instant;
  started_at: Instant;
  completed_at: Instant | null;
  ended_by: "sender" | "detector" | "operator" | null;
  newest_update_at: Instant | null;
  last_telemetry_at: Instant | null;
  last_progress_at: Instant | null;
  clock_offset_seconds: number | null;
  clock_skew_seconds: number | null;
  duration_seconds: number | null;
}

interface JobDetail extends Job {
  findings: Finding[];
  /** What applies to the run, by setting. */
  thresholds: Record<string, { value: unknown; rule_id: number | null; raised_by: string | null }>;
  performance_metrics: Record<string, unknown> | null;
  disks: JobDisk[];
}

/** Why a run is not good. */
interface Finding {
  kind: "suspicious" | "unusual";
  summary: string;
  evidence: Record<string, unknown>;
}

interface JobDisk {
  job_id: string;
  disk_index: number;
  status: string;
  size_bytes: number | null;
  bytes_transferred: number;
  total_bytes: number | null;
  transfer_speed_bps: number | null;
  progress_percent: number | null;
  error_message: string | null;
  newest_update_at: Instant | null;
}

interface JobEvent {
  id: number;
  time: Instant;
  kind: "transition" | "warning" | "log";
  from_status: JobStatus | null;
  to_status: JobStatus | null;
  actor: string;
  reason: string;
  evidence: Record<string, unknown> | null;
}

interface JobSummary {
  total: number;
  by_status: ByStatus;
  by_result: ByResult;
}

interface LastJob {
  job_id: string;
  run: number;
  runs: number;
  job_type: string;
  status: JobStatus;
  result: RunResult | null;
  started_at: Instant;
  completed_at: Instant | null;
  bytes_transferred: number;
  duration_seconds: number | null;
  error_message: string | null;
}

interface Machine {
  vm_name: string;
  jobs: number;
  by_status: ByStatus;
  by_result: ByResult;
  last_job: LastJob;
}

/** `derived`: by bytes and time, as the sender reports no speed. */
type SpeedSource = "reported" | "derived";

type GapReason = "silence" | "hub_away" | "sender_lost";

/** GET /telemetry/history with `format=columns`. */
interface History {
  started_at: Instant;
  duration_seconds: number | null;
  source: string;
  resolution_seconds: number;
  snapshots: number;
  peak_speed_bps: number | null;
  avg_speed_bps: number | null;
  min_speed_bps: number | null;
  effective_speed_bps: number | null;
  speed_source: SpeedSource | null;
  chart_data: {
    t: number[];
    s: (number | null)[];
    s_min: (number | null)[];
    s_max: (number | null)[];
    p: (number | null)[];
    b: (number | null)[];
  };
  last_point_unfinished: boolean;
  gap_seconds: number;
  gaps: { from: Instant; to: Instant; reason: GapReason }[];
  gaps_omitted: number;
  phases: ApiPhase[];
  phases_omitted: number;
}

interface ApiPhase {
  phase: string;
  from_t: number;
  to_t: number;
  seconds: number;
  bytes: number | null;
}

interface HubNode {
  node_id: string;
  state: "online" | "offline";
  state_since: Instant;
  last_seen_at: Instant;
  cpu_percent: number | null;
  memory_percent: number | null;
  memory_used_mb: number | null;
  memory_total_mb: number | null;
  disk_percent: number | null;
  disk_used_gb: number | null;
  disk_total_gb: number | null;
  network_rx_bytes: number | null;
  network_tx_bytes: number | null;
  network_rx_rate_mbps: number | null;
  network_tx_rate_mbps: number | null;
  uptime_seconds: number | null;
  process_count: number | null;
  active_connections: number | null;
  load_avg_1m: number | null;
  load_avg_5m: number | null;
  load_avg_15m: number | null;
}

interface NodeEvent {
  time: Instant;
  from_state: string;
  to_state: string;
  reason: string;
}

interface NodeHistory {
  resolution_seconds: number;
  snapshots: number;
  series: { t: number[] } & { [metric: string]: { mean: (number | null)[] } };
}

type Severity = "critical" | "warning" | "info";

/** Something that an operator should know. */
interface AttentionItem {
  id: number;
  kind: string;
  severity: Severity;
  job_id: string | null;
  run: number | null;
  node_id: string | null;
  vm_name: string | null;
  job_type: string | null;
  repository_id: string | null;
  since: Instant;
  summary: string;
  advice: string;
  acknowledged_at: Instant | null;
  acknowledged_by: string | null;
  note: string | null;
}

/** What became of a day of a series. */
type NightState = "good" | "warning" | "failed" | "missing" | "running" | "stalled" | "cancelled";

/** A series; its lists have a value for each day. */
interface NightsItem {
  id: number;
  vm_name: string | null;
  job_id: string | null;
  job_type: string;
  repository_id: string | null;
  backup_type: string | null;
  state: (NightState | null)[];
  run_job_id: (string | null)[];
  run: (number | null)[];
  bytes: (number | null)[];
  seconds: (number | null)[];
  runs: number[];
  failures: number[];
}

/** GET /series/nights */
interface Nights extends Page<NightsItem> {
  zone: string;
  begins_hour: number;
  /** Dates: "2026-11-30". */
  days: string[];
  /** When each day begins, and the last one ends. */
  bounds: Instant[];
}

/** GET /session */
interface Session {
  /** Whether the hub requires tokens. */
  required: boolean;
  by_cookie: boolean;
  name: string | null;
  scope: "ingest" | "read" | "admin" | null;
}

// The views.

/** See lib/looks.js. */
type RunLook = JobStatus | "warning";
type ByLook = Record<RunLook, number>;

type Query = Record<string, string | number | null | undefined>;
/** What `h` takes as a child; null, undefined, false and "" show nothing. */
type Child = Node | string | number | boolean | null | undefined | Child[];

interface ViewContext {
  params: { name: string };
  query: URLSearchParams;
  /** Whether the user came here by "back" or "forward". */
  restores: boolean;
  navigate: (href: string) => void;
  setQuery: (changes: Query, options?: { push?: boolean }) => void;
  /** Takes the page's title from its heading, which has changed, with `mark` before it. */
  updateTitle: (mark?: string) => void;
  /** Leaves the view, and shows the same address again. */
  reload: () => void;
}

interface View {
  unmount: () => void;
  /** Applies another query of the same address; false if it cannot. */
  follow?: (query: URLSearchParams) => boolean;
}

interface Column {
  label: string;
  class?: string;
}

interface RefreshContext {
  signal: AbortSignal;
  first: boolean;
}

// The charts.

/** A part of a run in elapsed seconds. */
interface Span {
  from: number;
  to: number;
}

interface Row {
  /** Elapsed seconds. */
  t: number;
  /** The middle of the step. */
  at: number;
  s: number | null;
  low: number | null;
  high: number | null;
  p: number | null;
  b: number | null;
}

type Gap = Span & { reason: GapReason };
type Phase = Span & ApiPhase;

/** A history as a chart draws it. */
interface Run {
  rows: Row[];
  lines: Row[][];
  gaps: Gap[];
  gapSeconds: number;
  phases: Phase[];
  end: number;
  unfinished: Row | null;
  resolution: number;
}

interface Bin extends Span {
  count: number;
  share: number;
}

interface ComparedRun {
  run: Run;
  job: Job;
  /** Selects colour and dash. */
  style: number;
}

interface DiskRun {
  index: number;
  run: Run;
  place: number;
  history: History;
}

/** `[seconds since 1970, value]`; null in a gap. */
type TimePoint = [number, number | null];

interface LineSeries {
  name: string;
  points: TimePoint[];
  unit: string;
}

interface Size {
  width: number;
  height: number;
}

type Layer = "band" | "mean" | "progress" | "phases";

interface Theme extends Record<`gap_${GapReason}`, string> {
  text: string;
  muted: string;
  grid: string;
  axis: string;
  surface: string;
  speed: string;
  band: string;
  mean: string;
  progress: string;
  phase: string;
  phaseAlternate: string;
  look: Record<RunLook, string>;
  series: string[];
  font: string;
}

type ChartBuilder = (theme: Theme, size: Size) => Record<string, unknown>;

/** What is used of the events and callback parameters of ECharts. */
interface ChartItem<V = unknown> {
  name: string;
  dataIndex: number;
  seriesIndex: number;
  axisValue: number;
  value: V;
}

interface RenderApi {
  coord: (point: (number | null)[]) => [number, number];
  value: (dimension: number) => number;
}

interface RenderParams {
  dataIndexInside: number;
  coordSys: { x: number; y: number; width: number; height: number };
}

declare module "*/echarts.esm.min.mjs" {
  export * from "echarts";
}

declare function SwaggerUIBundle(options: Record<string, unknown>): void;
