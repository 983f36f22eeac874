// @ts-check
/** What a run waited for: the spans without which it would have been over sooner. */

/** @typedef {import("./tree.js").Columns} Columns */

/**
 * The critical path, walked from the end: before a span ended it waited for the child that ended last, before that one
 * began for the one that ended last until then, and so on.
 * @param {Columns} data all spans of the run @param {number} whole when it is over, µs
 * @returns {{ ids: Set<string>, us: Map<string, number> }} ids of its spans, and how long it was at which kind
 */
export function criticalPath(data, whole) {
  const endOf = (/** @type {number} */ at) => (data.duration_us[at] === null ? whole : data.start_us[at] + data.duration_us[at]);
  /** @type {number[][]} */
  const children = data.id.map(() => []);
  /** @type {number[]} */
  const tops = [];
  data.parent.forEach((parent, at) => (parent === null ? tops : children[parent]).push(at));
  const lastAtEnd = (/** @type {number[]} */ places) => places.sort((one, other) => endOf(one) - endOf(other));
  /** @type {Set<string>} */
  const ids = new Set();
  /** @type {Map<string, number>} */
  const us = new Map();
  /** @type {{ kind: string, from: number, until: number, waits: number[] }[]} spans that are walked, each within the one before */
  const walked = [{ kind: "", from: 0, until: whole, waits: lastAtEnd(tops) }];
  for (let span = walked.at(-1); span; span = walked.at(-1)) {
    const at = span.waits.pop();
    if (at === undefined) {
      us.set(span.kind, (us.get(span.kind) ?? 0) + Math.max(0, span.until - span.from));
      walked.pop();
      continue;
    }
    const until = Math.min(endOf(at), span.until);
    const from = Math.max(data.start_us[at], span.from);
    if (from >= until) continue;
    us.set(span.kind, (us.get(span.kind) ?? 0) + span.until - until);
    span.until = from;
    ids.add(data.id[at]);
    walked.push({ kind: data.kind[at], from, until, waits: lastAtEnd(children[at]) });
  }
  return { ids, us };
}
