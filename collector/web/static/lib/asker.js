// @ts-check
/** What the token that this browser keeps may do, so that nothing is offered that would be refused. */

/** @typedef {{ key: string | null, tenant: string | null, project: string | null, may: string[] }} Asker */

/** @type {Asker | undefined} */
let held;

/** @param {Asker | undefined} asker as the API tells it */
export function keepAsker(asker) {
  held = asker ?? held;
}

export const asker = () => held;

/** @param {"read" | "content" | "delete" | "admin"} scope */
export const may = (scope) => held?.may.includes(scope) ?? false;
