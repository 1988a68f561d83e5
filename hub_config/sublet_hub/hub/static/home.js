// Stops, removes and adds servers on the home page.
{
  const user = document.querySelector("[data-user]").dataset.user;

  const act = (button, doing, call) => {
    const row = button.closest("[data-server]");
    const status = row.querySelector("[data-status]");
    button.addEventListener("click", async () => {
      button.disabled = true;
      status.hidden = false;
      status.textContent = doing;
      try {
        await call(row.dataset.server);
        window.location.reload();
      } catch (error) {
        status.textContent = error.message;
        button.disabled = false;
      }
    });
  };
  for (const button of document.querySelectorAll("[data-stop]")) {
    act(button, "Stopping…", (server) => window.subletHub.stopServer(user, server));
  }
  for (const button of document.querySelectorAll("[data-remove]")) {
    act(button, "Removing…", (server) => window.subletHub.removeServer(user, server));
  }

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
