// @ts-check
/** A list of any length of which only the rows in sight are in the document. Rows have one height. */

import { html, useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { useSize } from "../lib/use.js";

const BEYOND = 8;

/**
 * @template T
 * @param {{
 *   rows: T[], height: number, label: string, head?: any, active?: number, total?: number, columns?: number,
 *   render: (row: T, index: number) => any, keyOf: (row: T, index: number) => string,
 *   onNearEnd?: () => void, onSelect?: (index: number) => void, class?: string,
 * }} props
 * `active` is the row that keys are about: it is kept in sight when it changes. `total` is how many rows there are,
 * if not all of them are here.
 */
export function Windowed({ rows, height, label, head, active = -1, total, render, keyOf, onNearEnd, onSelect, class: kind = "" }) {
  const box = useRef(/** @type {any} */ (null));
  const { height: seen } = useSize(box);
  const [top, setTop] = useState(0);
  const first = Math.max(0, Math.floor(top / height) - BEYOND);
  const last = Math.min(rows.length, Math.ceil((top + (seen || 600)) / height) + BEYOND);
  useLayoutEffect(() => {
    if (active < 0 || !box.current) return;
    const headHeight = box.current.querySelector(".head")?.offsetHeight ?? 0;
    const at = active * height;
    const inner = box.current.clientHeight - headHeight;
    if (at < box.current.scrollTop) box.current.scrollTop = at;
    else if (at + height > box.current.scrollTop + inner) box.current.scrollTop = at + height - inner;
  }, [active]);
  useEffect(() => {
    if (onNearEnd && last >= rows.length - BEYOND) onNearEnd();
  }, [last, rows.length]);
  return html`
    <div class="windowed ${kind}" ref=${box} onScroll=${(/** @type {any} */ event) => setTop(event.currentTarget.scrollTop)}
      role="grid" aria-label=${label} aria-rowcount=${(total ?? rows.length) + (head ? 1 : 0)} tabindex="0">
      ${head && html`<div class="row head" role="row" aria-rowindex="1">${head}</div>`}
      <div class="space" role="presentation" style=${{ height: `${rows.length * height}px` }}>
        ${rows.slice(first, last).map((row, offset) => {
          const index = first + offset;
          return html`
            <div key=${keyOf(row, index)} class="row ${index === active ? "active" : ""}" role="row" aria-rowindex=${index + (head ? 2 : 1)}
              aria-selected=${index === active} style=${{ top: `${index * height}px`, height: `${height}px` }}
              onClick=${() => onSelect?.(index)}>${render(row, index)}</div>`;
        })}
      </div>
    </div>
  `;
}
