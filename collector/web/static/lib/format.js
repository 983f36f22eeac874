// @ts-check
/** Values as people read them. What is not known is a dash, never a zero. */

export const UNKNOWN = "–";

/** @param {number | null | undefined} ms */
export function duration(ms) {
  if (ms === null || ms === undefined) return UNKNOWN;
  if (ms === 0) return "0 ms";
  if (ms < 1) return `${ms.toFixed(2)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.round((ms % 60_000) / 1000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** @param {number | null | undefined} usd */
export function money(usd) {
  if (usd === null || usd === undefined) return UNKNOWN;
  if (usd === 0) return "$0";
  return usd >= 1 ? `$${usd.toFixed(2)}` : `$${usd.toPrecision(2)}`;
}

const COUNT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const WHOLE = new Intl.NumberFormat("en");

/** @param {number | null | undefined} value */
export const count = (value) =>
  value === null || value === undefined ? UNKNOWN : value < 10_000 ? WHOLE.format(value) : COUNT.format(value);

/** @param {number | null | undefined} value */
export const whole = (value) => (value === null || value === undefined ? UNKNOWN : WHOLE.format(value));

/** @param {number} bytes */
export function size(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1 << 20) return `${(bytes / 1024).toFixed(1)} KiB`;
  if (bytes < 1 << 30) return `${(bytes / (1 << 20)).toFixed(1)} MiB`;
  return `${(bytes / (1 << 30)).toFixed(1)} GiB`;
}

/** Milliseconds since the epoch of an RFC 3339 time. @param {string} text */
export const time = (text) => Date.parse(text.replace(/(\.\d{3})\d+/, "$1"));

/** A time without what is the same now: the year, and today's date. @param {string | null | undefined} text */
export function moment(text) {
  if (!text) return UNKNOWN;
  const at = new Date(time(text));
  const now = new Date();
  const day = at.toDateString() === now.toDateString() ? "" : at.toLocaleDateString("sv").slice(at.getFullYear() === now.getFullYear() ? 5 : 0) + " ";
  return day + at.toLocaleTimeString("sv");
}

/** How long ago. @param {string} text */
export function ago(text) {
  const s = Math.max(0, (Date.now() - time(text)) / 1000);
  if (s < 60) return `${Math.floor(s)} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

/** @param {string} text @param {number} most */
export const cut = (text, most) => (text.length > most ? text.slice(0, most - 1) + "…" : text);

/** One line. @param {string | null | undefined} text @param {number} [most] */
export const line = (text, most = 200) => cut((text ?? "").slice(0, most * 4).replace(/\s+/g, " ").trim(), most);

/** @param {number} number @param {string} one @param {string} [many] */
export const plural = (number, one, many = one + "s") => `${whole(number)} ${number === 1 ? one : many}`;
