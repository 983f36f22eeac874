// @ts-check
import { html } from "../vendor/preact.js";
import { Link } from "../lib/router.js";

/** What to do where calls of models came without what was said. */
export const Uncaptured = () => html`<p class="dim">Programs often send no content unless they are told to: set <code>OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=true</code> where it runs. It is missing here too where <${Link} to="/settings">redaction</${Link}> keeps it out.</p>`;
