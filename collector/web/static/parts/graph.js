// @ts-check
/** Who calls whom: the run, its agents, and the models and tools that they call, from left to right. */

import { html } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { count, duration, line, money, plural } from "../lib/format.js";
import { useAsked } from "../lib/use.js";
import { Waiting } from "./asked.js";

const COLUMNS = [["run"], ["agent"], ["model", "tool"]];
const WIDTH = 230;
const HEIGHT = 62;
const BOX = 180;

/** @param {{ path: string, version: any }} props */
export function Graph({ path, version }) {
  const asked = useAsked((signal) => get(path + "/graph", {}, signal), [path, version]);
  if (!asked.data) return html`<${Waiting} asked=${asked} />`;
  /** @type {{ nodes: any[], edges: any[] }} */
  const { nodes, edges } = asked.data;
  /** @type {Map<string, { x: number, y: number, node: any }>} */
  const places = new Map();
  const columns = COLUMNS.map((types) => nodes.filter((node) => types.includes(node.type))).filter((column) => column.length);
  columns.forEach((column, x) => column.forEach((node, y) => places.set(node.id, { x: 10 + x * WIDTH, y: 20 + y * HEIGHT, node })));
  const tall = Math.max(...columns.map((column) => column.length), 1) * HEIGHT + 30;
  const known = edges.filter((edge) => places.has(edge.source) && places.has(edge.target));
  const most = Math.max(...known.map((edge) => edge.count), 1);
  return html`
    <div class="scroll" tabindex="0" role="region" aria-label="Graph of the run">
      <svg class="graph" width=${columns.length * WIDTH} height=${tall} role="img" aria-label=${`${plural(nodes.length, "node")}, ${plural(edges.length, "edge")}; the same as a table below`}>
        ${known.map((edge) => {
          const from = /** @type {any} */ (places.get(edge.source));
          const to = /** @type {any} */ (places.get(edge.target));
          const forth = to.x > from.x;
          const x1 = from.x + BOX;
          const y1 = from.y + (forth ? 20 : 12);
          const x2 = to.x + (forth ? 0 : BOX);
          const y2 = to.y + (forth ? 20 : 28);
          const bend = forth ? `C ${x1 + 30} ${y1}, ${x2 - 30} ${y2}` : `C ${x1 + 50} ${y1}, ${x2 + 50} ${y2}`;
          return html`<g><path class=${`edge ${edge.type}`} d=${`M ${x1} ${y1} ${bend}, ${x2} ${y2}`} stroke-width=${1 + (4 * edge.count) / most} />
            <title>${`${from.node.name} ${edge.type} ${to.node.name}: ${edge.count} times`}</title></g>`;
        })}
        ${[...places.values()].map(({ x, y, node }) => html`
          <g class=${`node ${node.type} ${node.errors ? "failed" : ""}`}><rect x=${x} y=${y} width=${BOX} height="40" rx="6" />
            <text x=${x + 9} y=${y + 17}>${line(node.name, 24)}</text>
            <text class="dim" x=${x + 9} y=${y + 32}>${`${node.type === "run" ? "the run" : `${count(node.count)}×`}  ${node.errors ? `${node.errors} failed  ` : ""}${node.cost_usd === null ? "" : money(node.cost_usd)}`}</text>
            <title>${`${node.type} ${node.name}: ${duration(node.duration_ms)}`}</title></g>`)}
      </svg>
    </div>
    <table class="plain"><caption>Who calls whom</caption>
      <thead><tr><th scope="col">From</th><th scope="col">How</th><th scope="col">To</th><th scope="col">Times</th><th scope="col">Failed</th><th scope="col">Took</th><th scope="col">Tokens</th><th scope="col">Cost</th></tr></thead>
      <tbody>${known.map((edge) => html`<tr><td>${places.get(edge.source)?.node.name}</td><td>${edge.type}</td><td>${places.get(edge.target)?.node.name}</td><td class="number">${count(edge.count)}</td><td class="number">${edge.errors || ""}</td><td class="number">${duration(edge.duration_ms)}</td><td class="number">${count(edge.tokens)}</td><td class="number">${money(edge.cost_usd)}</td></tr>`)}</tbody>
    </table>`;
}
