// Stops, removes and adds servers on the home page, and follows those that are about to start or stop.
{
  const LOOK_EVERY_MS = 2000;
  const user = document.querySelector("[data-user]").dataset.user;
  const rowOf = (element) => element.closest("[data-server]").dataset;

  for (const button of document.querySelectorAll("[data-stop]")) {
    const { server, title } = rowOf(button);
    const stop = async () => {
      await window.subletHub.stopServer(user, server);
      window.location.reload();
    };
    const starts = button.hasAttribute("data-pending");
    button.addEventListener("click", () => window.subletAsk({
      title: starts ? `Cancel the start of ${title}?` : `Stop ${title}?`,
      text: starts
        ? "Nothing is charged once it has stopped."
        : "Open documents are saved, then its kernels and terminals end; files in your home stay.",
      confirm: starts ? "Cancel the start" : "Stop now",
      act: stop,
    }));
  }
  for (const button of document.querySelectorAll("[data-remove]")) {
    const { server, title } = rowOf(button);
    button.addEventListener("click", () => window.subletAsk({
      title: `Remove ${title}?`,
      text: "It is taken off this list. If it had storage of its own, that may go with it.",
      confirm: "Remove",
      act: async () => {
        await window.subletHub.removeServer(user, server);
        window.location.reload();
      },
    }));
  }

  const busy = [...document.querySelectorAll("[data-pending]")].map((element) => rowOf(element).server);
  const look = async () => {
    const asked = document.querySelector("dialog[open]") || document.querySelector("[data-add] input")?.value;
    const servers = asked || document.hidden ? [] : await Promise.all(
      busy.map((server) => window.subletHub.server(user, server).catch(() => ({ pending: "not known" }))));
    if (servers.some((server) => !server?.pending)) window.location.reload();
    else window.setTimeout(look, LOOK_EVERY_MS);
  };
  if (busy.length) window.setTimeout(look, LOOK_EVERY_MS);

  // The hub's rule for names of servers: small letters, digits and dashes, beginning with a letter or digit.
  const slug = (text) =>
    text.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 30).replace(/-+$/, "");
  const form = document.querySelector("[data-add]");
  form?.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = slug(form.elements.name.value);
    form.elements.name.setCustomValidity(name ? "" : "Use letters or digits.");
    if (!name) {
      form.reportValidity();
      return;
    }
    const shown = encodeURIComponent(form.elements.name.value.trim());
    window.location.assign(`${form.dataset.base}${name}?display_name=${shown}`);
  });
  form?.elements.name.addEventListener("input", () => form.elements.name.setCustomValidity(""));
}
