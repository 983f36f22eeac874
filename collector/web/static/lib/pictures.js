// @ts-check
/** Pictures that were sent as text, wherever they stand in what was received. */

const WHOLE = /^data:(image\/(?:png|jpeg|gif|webp));base64,([A-Za-z0-9+/=\s]{64,})$/;
const WITHIN = /data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]{64,}/g;
const TYPE = /^image\/(?:png|jpeg|gif|webp)$/;
const BASE64 = /^[A-Za-z0-9+/]{64,}={0,2}$/;
const DEEPEST = 40;

/** Whether a text is a picture, as a data URL. @param {any} text */
export const isPicture = (text) => typeof text === "string" && text.startsWith("data:image/") && WHOLE.test(text);

/** @param {string} source a picture as a data URL @returns {Blob} */
export function pictureOf(source) {
  const [, type, data] = /** @type {RegExpExecArray} */ (WHOLE.exec(source));
  return new Blob([Uint8Array.from(atob(data.replace(/\s/g, "")), (letter) => letter.charCodeAt(0))], { type });
}

/** Every picture in a document, once, as data URLs: as such, in JSON within texts, and beside its media type. @param {any} document @returns {string[]} */
export function picturesIn(document) {
  /** @type {Set<string>} */
  const found = new Set();
  look(document, found, 0);
  return [...found];
}

/** @param {any} value @param {Set<string>} found @param {number} depth */
function look(value, found, depth) {
  if (depth > DEEPEST) return;
  if (typeof value === "string") {
    const inner = /^\s*[[{]/.test(value) && /image/.test(value) ? read(value) : undefined;
    if (inner !== undefined) look(inner, found, depth + 1);
    else for (const [source] of value.matchAll(WITHIN)) if (isPicture(source)) found.add(source);
  } else if (value && typeof value === "object") {
    const members = Object.values(value);
    const type = members.find((member) => typeof member === "string" && TYPE.test(member));
    const data = type && members.find((member) => typeof member === "string" && BASE64.test(member));
    if (data) found.add(`data:${type};base64,${data}`);
    for (const member of members) look(member, found, depth + 1);
  }
}

/** @param {string} text */
function read(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
