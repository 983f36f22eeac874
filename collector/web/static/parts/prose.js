// @ts-check
import { html } from "../vendor/preact.js";

/** A sentence in which names stand between backticks. @param {{ text: string | null | undefined }} props */
export const Prose = ({ text }) => html`${(text ?? "").split("`").map((part, index) => (index % 2 ? html`<code class="name">${part}</code>` : part))}`;
