// A quota as a form: a row for each limit, in units that people think in; what the API refuses shows at its field.

import { fill, h, uniqueId } from "./dom.js";

const KINDS = {
  gpu_seconds: { text: "GPU time", windowed: true, units: [["GPU-hours", 3600], ["GPU-seconds", 1]] },
  money_microunits: { text: "Money", windowed: true, units: null },
  model_tokens: { text: "Model tokens", windowed: true, units: [["tokens", 1]] },
  gpus: { text: "GPUs at once", windowed: false, units: [["GPUs", 1]] },
  leases: { text: "Leases at once", windowed: false, units: [["leases", 1]] },
  lease_seconds: { text: "Time per lease", windowed: false, units: [["hours", 3600], ["minutes", 60], ["seconds", 1]] },
};
const WINDOWS = [["day", "per day"], ["week", "per week"], ["month", "per month"], ["total", "in total"], ["rolling", "in any … days"]];

/**
 * A form for a quota. `save(body)` sends the PUT; a `Problem` it throws is shown at the field that it names.
 * Only whole base units are sent: an amount that is none is refused here.
 */
export function quotaForm({ reading, flavors, currency, confirm, cancel, save }) {
  const rows = h("fieldset", { class: "edit-rows" }, h("legend", { class: "visually-hidden" }, "Limits"));
  const addRow = (limit) => rows.append(limitRow(limit, flavors, currency));
  reading.limits.forEach(addRow);
  const [zoneId, whyId] = [uniqueId("zone"), uniqueId("why")];
  const zone = h("input", { id: zoneId, value: reading.time_zone, list: timeZones(), autocomplete: "off", "aria-describedby": `${zoneId}-fault` });
  const zoneFault = h("p", { class: "field-error", id: `${zoneId}-fault` });
  const why = h("input", { id: whyId, maxlength: "500", placeholder: "deadline of a paper" });
  const fault = h("p", { class: "field-error form-error", role: "alert" });
  const go = h("button", { type: "submit" }, confirm);
  const none = h("p", { class: "soft small" }, "Without a limit nothing is limited.");
  const form = h("form", { novalidate: true, onsubmit: submit }, rows, none,
    h("p", {}, h("button", { type: "button", class: "bare", onclick: () => { addRow(null); rows.lastChild.querySelector("select").focus(); noneHint(); } }, "+ Add a limit")),
    h("div", { class: "edit-foot" },
      h("div", { class: "field" }, h("label", { for: zoneId }, "Days, weeks and months begin in time zone"), zone, zoneFault),
      h("div", { class: "field" }, h("label", { for: whyId }, "Why (kept in the audit record)"), why)),
    fault,
    h("div", { class: "buttons" }, go, h("button", { type: "button", class: "quiet", onclick: cancel }, "Cancel")));
  const noneHint = () => { none.hidden = rows.querySelectorAll(".edit-row").length > 0; };
  rows.addEventListener("row-removed", noneHint);
  noneHint();

  async function submit(event) {
    event.preventDefault();
    const all = [...rows.querySelectorAll(".edit-row")];
    clear();
    const limits = all.map((row) => row.read());
    if (limits.some((limit) => limit === null)) {
      form.querySelector('[aria-invalid="true"]')?.focus();
      return;
    }
    go.disabled = true;
    try {
      await save({ limits, time_zone: zone.value.trim(), why: why.value.trim() });
    } catch (problem) {
      place(problem, all);
    } finally {
      go.disabled = false;
    }
  }

  function clear() {
    fill(fault);
    fill(zoneFault);
    zone.removeAttribute("aria-invalid");
    for (const row of rows.querySelectorAll(".edit-row")) row.clear();
  }

  /** Put each fault at its field; what belongs to none goes above the buttons. */
  function place(problem, all) {
    const rest = [];
    const errors = problem.errors?.length ? problem.errors : [{ field: null, detail: problem.message }];
    for (const { field, detail } of errors) {
      const at = /^limits\[(\d+)\](?:\.(\w+))?/.exec(field ?? "");
      if (at && all[at[1]]) all[at[1]].fault(at[2], detail);
      else if (field === "time_zone") {
        zoneFault.textContent = detail;
        zone.setAttribute("aria-invalid", "true");
      } else rest.push(detail);
    }
    fault.textContent = rest.join(" ");
    form.querySelector('[aria-invalid="true"]')?.focus();
  }
  return form;
}

function limitRow(limit, flavors, currency) {
  const what = h("select", {}, Object.entries(KINDS).map(([value, { text }]) => h("option", { value, selected: limit?.what === value }, text)));
  const amount = h("input", { inputmode: "decimal", autocomplete: "off" });
  const unit = h("select", { "aria-label": "Unit" });
  const windowed = limit?.window ?? null;
  const rollingDays = /^P(\d+)D$/.exec(windowed ?? "");
  const other = windowed && !rollingDays && !WINDOWS.some(([value]) => value === windowed);
  const window = h("select", {}, WINDOWS.map(([value, text]) => h("option", { value, selected: value === windowed || (value === "rolling" && Boolean(rollingDays)) || (!windowed && value === "week") }, text)),
    other && h("option", { value: windowed, selected: true }, `in any ${windowed}`));
  const days = h("input", { inputmode: "numeric", value: rollingDays?.[1] ?? "30", "aria-label": "Days" });
  const flavor = h("select", {}, h("option", { value: "" }, "all flavors"),
    [...new Set([...flavors, ...(limit?.flavor ? [limit.flavor] : [])])].map((name) => h("option", { value: name, selected: limit?.flavor === name }, name)));
  const remove = h("button", { type: "button", class: "bare", "aria-label": "Remove this limit", onclick: () => {
    const rows = row.parentElement;
    row.remove();
    rows.dispatchEvent(new Event("row-removed"));
  } }, "Remove");
  const windowField = field("Window", window, h("div", {}, days));
  const fields = { what: field("What", what), limit: field("At most", amount, null, unit), window: windowField, flavor: field("Flavor", flavor) };
  const row = h("div", { class: "edit-row", role: "group", "aria-label": "Limit" }, Object.values(fields).map((each) => each.element), remove);

  const units = () => (what.value === "money_microunits" ? [[currency, 1_000_000]] : KINDS[what.value].units);
  function shape() {
    fill(unit, units().map(([text, size]) => h("option", { value: String(size) }, text)));
    window.disabled = !KINDS[what.value].windowed;
    window.closest(".field").classList.toggle("absent", window.disabled);
    days.parentElement.hidden = window.value !== "rolling";
  }
  function showAmount(value) {
    const fits = units().find(([, size]) => (value * 100) % size === 0) ?? units().at(-1);
    unit.value = String(fits[1]);
    amount.value = String(value / fits[1]);
  }
  what.addEventListener("change", shape);
  window.addEventListener("change", shape);
  shape();
  if (limit) showAmount(limit.limit);

  row.clear = () => Object.values(fields).forEach((each) => each.fault(""));
  row.fault = (name, text) => (fields[name] ?? fields.limit).fault(text);
  row.read = () => {
    const value = wholeUnits(amount.value, Number(unit.value));
    if (typeof value === "string") {
      fields.limit.fault(value);
      return null;
    }
    let span = window.disabled ? null : window.value;
    if (span === "rolling") {
      if (!/^[1-9]\d{0,3}$/.test(days.value.trim())) {
        fields.window.fault("Write a number of days, such as 30.");
        return null;
      }
      span = `P${days.value.trim()}D`;
    }
    return { what: what.value, limit: value, window: span, flavor: flavor.value || null };
  };
  return row;
}

/** A label, its control (with a unit joined to it), and the place for its fault. */
function field(label, control, extra = null, unit = null) {
  const id = uniqueId("field");
  control.id = id;
  const fault = h("p", { class: "field-error", id: `${id}-fault` });
  control.setAttribute("aria-describedby", fault.id);
  const element = h("div", { class: "field" }, h("label", { for: id }, label), unit ? h("div", { class: "joined" }, control, unit) : control, extra, fault);
  return {
    element,
    fault: (text) => {
      fault.textContent = text;
      if (text) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    },
  };
}

/** The amount in base units as a whole number, or the sentence that says why it is none. */
function wholeUnits(text, size) {
  const written = text.trim().replace(",", ".");
  if (written === "") return "Write an amount.";
  if (!/^\d+(\.\d+)?$/.test(written)) return "Write a number, such as 10 or 2.5.";
  const [whole, fraction = ""] = written.split(".");
  const scaled = BigInt(whole + fraction) * BigInt(size);
  const divisor = 10n ** BigInt(fraction.length);
  if (scaled % divisor !== 0n) return "That is not a whole number of the smallest unit; write fewer decimals.";
  const value = scaled / divisor;
  return value > 10n ** 12n ? "That is more than a limit can be." : Number(value);
}

let zones = null;

/** The id of a list of the browser's time zones, made once. */
function timeZones() {
  if (!zones) {
    zones = uniqueId("zones");
    const names = ["UTC", ...(Intl.supportedValuesOf?.("timeZone") ?? [])];
    document.body.append(h("datalist", { id: zones }, names.map((value) => h("option", { value }))));
  }
  return zones;
}
