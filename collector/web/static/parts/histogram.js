// @ts-check
/** Runs over time, as bars; a click narrows the time to one. */

import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { moment, plural, time } from "../lib/format.js";
import { useAsked } from "../lib/use.js";

/** @type {Record<string, number>} */
const LENGTH_MS = { "1m": 60e3, "5m": 300e3, "15m": 900e3, "1h": 3600e3, "6h": 21_600e3, "1d": 86_400e3, "1w": 604_800e3 };
const MOST = 80;

/** @param {{ query: Record<string, any>, onPick: (since: string, until: string) => void }} props */
export function Histogram({ query, onPick }) {
  const asked = useAsked(
    (signal) => get("/aggregates", { ...query, metrics: "runs", by: "status", interval: "auto" }, signal), [query], { everyMs: 10_000 });
  /** @type {Map<number, { ok: number, error: number }>} */
  const bars = new Map();
  for (const row of asked.data?.data ?? []) {
    const at = time(row.time);
    const bar = bars.get(at) ?? { ok: 0, error: 0 };
    bar[row.keys.status === "error" ? "error" : "ok"] += row.values.runs;
    bars.set(at, bar);
  }
  if (!bars.size) return null;
  const length = LENGTH_MS[asked.data.meta.interval] ?? 3600e3;
  const times = [...bars.keys()].sort((one, other) => one - other);
  const end = times[times.length - 1];
  const first = Math.max(times[0], end - (MOST - 1) * length);
  const slots = Array.from({ length: Math.round((end - first) / length) + 1 }, (_, index) => first + index * length);
  const highest = Math.max(...[...bars.values()].map((bar) => Math.max(bar.ok, bar.error)));
  return html`
    <div class="histogram" role="group" aria-label="Runs over time">
      ${slots.map((at) => {
        const bar = bars.get(at);
        const since = new Date(at).toISOString();
        const until = new Date(at + length).toISOString();
        const says = `${moment(since)}: ${plural(bar?.ok ?? 0, "run")}, ${bar?.error ?? 0} with errors`;
        return html`<button type="button" key=${at} disabled=${!bar} title=${says} aria-label=${says} onClick=${() => onPick(since, until)}>
          <span class="bar ok" style=${{ height: `${(100 * (bar?.ok ?? 0)) / highest}%` }}></span>
          <span class="bar error" style=${{ height: `${(100 * (bar?.error ?? 0)) / highest}%` }}></span>
        </button>`;
      })}
    </div>`;
}
