// @ts-check
/** The whole run at a glance: its spans by time and depth, and where of it the rows in sight are. */

import { html, useEffect, useRef } from "../vendor/preact.js";
import { useScheme, useSize } from "../lib/use.js";

const LANE = 5;
const MOST_LANES = 9;
const COLOURED = ["LLM", "TOOL", "AGENT", "HANDOFF", "OTHER", "BAD"];

/** @param {{ data: import("../lib/tree.js").Columns, whole: number, from: number, until: number, onPick: (us: number) => void }} props times in µs */
export function Minimap({ data, whole, from, until, onPick }) {
  const box = useRef(/** @type {any} */ (null));
  const canvas = useRef(/** @type {any} */ (null));
  const { width } = useSize(box);
  const scheme = useScheme();
  const lanes = Math.min(MOST_LANES, data.depth.reduce((most, depth) => Math.max(most, depth + 1), 4));
  useEffect(() => {
    if (!width) return;
    const scale = window.devicePixelRatio;
    Object.assign(canvas.current, { width: width * scale, height: lanes * LANE * scale });
    const pen = canvas.current.getContext("2d");
    const style = getComputedStyle(document.body);
    const colours = new Map(COLOURED.map((kind) => [kind, style.getPropertyValue(`--${kind.toLowerCase()}`)]));
    pen.scale(scale, scale);
    // Of fifty thousand spans nearly all lie within a pixel where another was drawn; a failure is drawn over what did not fail.
    const drawn = new Uint8Array(lanes * Math.ceil(width + 1));
    data.id.forEach((_, at) => {
      const x = (width * data.start_us[at]) / whole;
      const long = data.duration_us[at] === null ? width - x : (width * data.duration_us[at]) / whole;
      const lane = data.depth[at] % lanes;
      const isBad = data.status[at] === "error";
      if (long < 1) {
        const pixel = lane * Math.ceil(width + 1) + Math.floor(x);
        if (drawn[pixel] > Number(isBad)) return;
        drawn[pixel] = 1 + Number(isBad);
      }
      pen.fillStyle = /** @type {string} */ (colours.get(isBad ? "BAD" : data.kind[at]) ?? colours.get("OTHER"));
      pen.fillRect(x, lane * LANE, Math.max(1, long), LANE - 1);
    });
  }, [data, width, lanes, scheme]);
  const pick = (/** @type {MouseEvent} */ event) => onPick((whole * (event.clientX - box.current.getBoundingClientRect().left)) / width);
  return html`
    <div class="minimap" ref=${box} onClick=${pick} title="Click to go to what began then">
      <canvas ref=${canvas} style=${{ width: "100%", height: `${lanes * LANE}px` }} role="img" aria-label="The whole run by time"></canvas>
      <span class="sight" aria-hidden="true" style=${{ left: `${(100 * from) / whole}%`, width: `${Math.max(0.3, (100 * (until - from)) / whole)}%` }}></span>
    </div>`;
}
