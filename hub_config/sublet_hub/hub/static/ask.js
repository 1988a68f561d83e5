// Asks before something is done that can't be undone; as the api's pages do (api/pages/static/js/parts.js). The focus goes
// back to where it was, or to the element that `act` gives, where that is gone.
window.subletAsk = ({ title, text, confirm, act }) => {
  const make = (tag, props = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), props);
    element.append(...children);
    return element;
  };
  const fault = make("p", { className: "note bad", hidden: true });
  fault.setAttribute("role", "alert");
  const go = make("button", { type: "submit", className: "button danger", textContent: confirm });
  const cancel = make("button", { type: "button", className: "button", textContent: "Cancel" });
  const heading = make("h2", { id: "ask-title", textContent: title });
  const wait = make("progress", { className: "wait", hidden: true });
  wait.setAttribute("aria-label", `${confirm}: please wait`);
  const buttons = make("div", { className: "actions" }, cancel, go);
  const form = make("form", { method: "dialog" }, heading, make("p", { textContent: text }), fault, wait, buttons);
  const dialog = make("dialog", { onclose: () => dialog.remove() }, form);
  dialog.setAttribute("aria-labelledby", heading.id);
  cancel.addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    go.disabled = true;
    fault.hidden = true;
    wait.hidden = false;
    try {
      const next = await act();
      dialog.close();
      next?.focus();
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
      go.disabled = false;
      wait.hidden = true;
    }
  });
  document.body.append(dialog);
  dialog.showModal();
};
