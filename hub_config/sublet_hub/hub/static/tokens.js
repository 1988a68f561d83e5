// Makes and revokes tokens. The list is taken anew from the page as the hub gives it.
{
  const { user } = document.querySelector("[data-user]").dataset;
  const form = document.querySelector("[data-make-token]");
  const find = (selector) => form.querySelector(selector);

  const renew = async () => {
    const answer = await fetch(window.location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const list = page.querySelector("[data-tokens]");
    if (!list) throw new Error("The list could not be read again. Load the page anew.");
    document.querySelector("[data-tokens]").replaceWith(list);
    window.subletLocalizeTimes(list);
    list.addEventListener("click", pressed);
  };

  const pressed = ({ target }) => {
    const button = target.closest("[data-revoke]");
    if (!button) return;
    const id = button.closest("[data-token-id]").dataset.tokenId;
    window.subletAsk({
      title: `Revoke “${button.dataset.revoke}”?`,
      text: "Programs that use it are refused from then on. Revoking the token of a server that runs cuts it off from the hub.",
      confirm: "Revoke",
      act: async () => {
        await window.subletHub.revokeToken(user, id);
        await renew();
        return form.elements.note;
      },
    });
  };
  document.querySelector("[data-tokens]").addEventListener("click", pressed);

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const scopes = form.elements.scopes.value.split(/[\s,]+/).filter(Boolean);
    const seconds = Number.parseInt(form.elements.expires.value, 10);
    const button = find("[type=submit]");
    button.disabled = true;
    find("[data-fault]").hidden = true;
    try {
      const { token } = await window.subletHub.makeToken(user, {
        note: form.elements.note.value.trim() || "Made on the page of tokens",
        expires_in: Number.isNaN(seconds) ? null : seconds,
        ...(scopes.length ? { scopes } : {}),
      });
      find("[data-made]").hidden = false;
      find("[data-token]").value = token;
      find("[data-token]").select();
      find("[data-copy]").textContent = "Copy";
      await renew();
    } catch (error) {
      find("[data-fault]").textContent = error.message;
      find("[data-fault]").hidden = false;
    }
    button.disabled = false;
  });

  find("[data-copy]").addEventListener("click", async () => {
    find("[data-token]").select();
    try {
      await navigator.clipboard.writeText(find("[data-token]").value);
      find("[data-copy]").textContent = "Copied";
    } catch {
      find("[data-copy]").textContent = "Press Ctrl-C"; // a site without TLS has no clipboard
    }
  });
}
