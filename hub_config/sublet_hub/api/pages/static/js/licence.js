// A licence: its text, and its acceptance by the person who reads it, or by a group's admin for the group.

import * as api from "./api.js";
import { fill, h, uniqueId } from "./dom.js";
import { accountName } from "./format.js";
import { ask } from "./parts.js";

/** Show a model's licence and let it be accepted for one of `payers`; `changed()` once it was. */
export async function acceptLicence(model, payers, changed) {
  const { name, title, version, url, accepted_by: by } = model.licence;
  const text = h("div", { class: "licence-text", tabindex: "0", role: "document", "aria-label": `Text of ${title}` }, "Fetching the text …");
  const missing = payers.filter((payer) => !by.includes(payer));
  const id = uniqueId("for");
  const forWhom = h("select", { id }, missing.map((payer) => h("option", { value: payer }, payer.startsWith("user:") ? "myself" : accountName(payer))));
  const link = h("a", { href: url, rel: "noreferrer", target: "_blank" }, "at its own address");
  const body = [
    h("p", {}, `${model.title} is under the ${title}, version ${version}. You can read it here, or `, link, "."),
    text,
    missing.length > 1 && h("div", { class: "field" }, h("label", { for: id }, "Accept for"), forWhom),
    missing.length > 0
      ? h("p", { class: "soft small" }, "Who accepted, which version and when is kept, and can't be taken back. Calls work within half a minute; "
        + "the files are in servers that you start from then on. For a group it counts where the group's account pays.")
      : h("p", { class: "soft small" }, "It is accepted already."),
  ];
  const dialog = ask({
    title,
    body,
    confirm: missing.length > 0 ? "I accept" : "Close",
    danger: false,
    act: async () => {
      if (missing.length === 0) return;
      await api.acceptLicence(model.name, { licence: name, version, account: forWhom.value });
      changed();
    },
  });
  dialog.classList.add("licence");
  try {
    const detail = await api.model(model.name);
    fill(text, detail.licence.text ?? "Its text is not kept here. Read it at its own address before you accept.");
  } catch (problem) {
    fill(text, `The text can't be read just now. ${problem.message}`);
  }
}
