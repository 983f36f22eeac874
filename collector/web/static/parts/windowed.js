// @ts-check
/** A list of any length of which only the rows in sight are in the document. */

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { useSize } from "../lib/use.js";

const BEYOND = 5;
/** So long rows above the active one may turn out higher than was thought, and push it out of sight. */
const SOUGHT_MS = 1000;

/**
 * @template T
 * @param {{
 *   rows: T[], height: number, flows?: boolean, label: string, head?: any, active?: number, total?: number,
 *   render: (row: T, index: number) => any, keyOf: (row: T, index: number) => string,
 *   onSeen?: (first: number, last: number) => void, onSelect?: (index: number) => void, class?: string,
 * }} props
 * Rows are `height` pixels high; those that `flow` are as high as they are, and about that before they were seen.
 * `active` is the row that keys are about: it is kept in sight when it changes. `total` is how many rows there are,
 * if not all of them are here. `onSeen` is told which rows are in the document.
 */
export function Windowed({ rows, height, flows, label, head, active = -1, total, render, keyOf, onSeen, onSelect, class: kind = "" }) {
  const box = useRef(/** @type {any} */ (null));
  const { height: seen } = useSize(box);
  const [top, setTop] = useState(0);
  const heights = useHeights(box, height);
  const tops = useMemo(() => (flows ? topsOf(rows, keyOf, heights.known, height) : null), [rows, heights.turn, height]);
  const topOf = (/** @type {number} */ index) => (tops ? tops[index] : index * height);
  const indexAt = (/** @type {number} */ y) => (tops ? placeIn(tops, y) : Math.floor(y / height));
  const first = Math.max(0, indexAt(top) - BEYOND);
  const last = Math.min(rows.length, indexAt(top + (seen || 600)) + 1 + BEYOND);
  const soughtUntil = useRef(0);
  const wanted = active >= 0 && rows[active] ? keyOf(rows[active], active) : "";
  const sought = useRef("");
  useLayoutEffect(() => {
    if (sought.current !== wanted) soughtUntil.current = Date.now() + SOUGHT_MS;
    sought.current = wanted;
    if (!wanted || !box.current || Date.now() > soughtUntil.current) return;
    const headHeight = box.current.querySelector(".head")?.offsetHeight ?? 0;
    const inner = box.current.clientHeight - headHeight;
    const [from, until] = [topOf(active), topOf(active + 1)];
    if (from < box.current.scrollTop) box.current.scrollTop = from;
    else if (until > box.current.scrollTop + inner) box.current.scrollTop = Math.min(from, until - inner);
  }, [wanted, heights.turn]);
  useEffect(() => onSeen?.(first, last), [first, last, rows]);
  return html`
    <div class="windowed ${kind}" ref=${box} onWheel=${() => (soughtUntil.current = 0)} onScroll=${(/** @type {any} */ event) => setTop(event.currentTarget.scrollTop)}
      role="grid" aria-label=${label} aria-rowcount=${(total ?? rows.length) + (head ? 1 : 0)} tabindex="0">
      ${head && html`<div class="row head" role="row" aria-rowindex="1">${head}</div>`}
      <div class="space" role="presentation" style=${{ height: `${topOf(rows.length)}px` }}>
        ${rows.slice(first, last).map((row, offset) => {
          const index = first + offset;
          const key = keyOf(row, index);
          const place = flows ? { top: `${topOf(index)}px` } : { top: `${index * height}px`, height: `${height}px` };
          return html`
            <div key=${key} data-key=${key} ref=${flows ? heights.observe : undefined} class="row ${index === active ? "active" : ""}" role="row" aria-rowindex=${index + (head ? 2 : 1)}
              aria-selected=${index === active} style=${place} onClick=${() => onSelect?.(index)}>${render(row, index)}</div>`;
        })}
      </div>
    </div>
  `;
}

/** @param {any[]} rows @param {(row: any, index: number) => string} keyOf @param {Map<string, number>} known @param {number} usual */
function topsOf(rows, keyOf, known, usual) {
  const tops = new Float64Array(rows.length + 1);
  rows.forEach((row, index) => (tops[index + 1] = tops[index] + (known.get(keyOf(row, index)) ?? usual)));
  return tops;
}

/** The row at a height. @param {Float64Array} tops @param {number} y */
function placeIn(tops, y) {
  let [low, high] = [0, Math.max(0, tops.length - 2)];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle] <= y) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Heights of rows that were seen, by their keys. What is in sight stays where it is when a row above turns out higher. @param {any} box @param {number} usual */
function useHeights(box, usual) {
  const known = useRef(/** @type {Map<string, number>} */ (new Map())).current;
  const [turn, setTurn] = useState(0);
  const observer = useRef(/** @type {ResizeObserver | null} */ (null));
  observer.current ??= new ResizeObserver((entries) => {
    let above = 0;
    let changed = false;
    for (const { target } of entries) {
      const row = /** @type {HTMLElement} */ (target);
      const key = row.dataset.key ?? "";
      if (!row.isConnected || known.get(key) === row.offsetHeight) continue;
      const before = known.get(key) ?? usual;
      if (row.offsetTop + before <= box.current.scrollTop) above += row.offsetHeight - before;
      known.set(key, row.offsetHeight);
      changed = true;
    }
    if (changed) setTurn((/** @type {number} */ before) => before + 1);
    if (above) box.current.scrollTop += above;
  });
  useEffect(() => () => observer.current?.disconnect(), []);
  const observe = useRef((/** @type {HTMLElement | null} */ row) => row && observer.current?.observe(row)).current;
  return { known, turn, observe };
}
