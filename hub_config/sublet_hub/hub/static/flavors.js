// Refines the flavors page: numbers for the chosen account only, and what the start button will start.
{
  const chooser = document.querySelector("[data-chooser]");
  const form = document.getElementById("spawn_form");

  const chosenAccount = () => form.elements.account.value; // a hidden field or a group of radio buttons
  const prospectOf = (radio, account) =>
    [...(radio.closest(".tier").querySelector(".tier-lines") ?? radio.closest(".flavor")).querySelectorAll("[data-account]")]
      .find((line) => line.dataset.account === account);
  const accountLabel = () => {
    const picked = form.querySelector('input[name="account"]:checked');
    return picked ? picked.closest("label").textContent.trim() : "Your own account";
  };

  const showAccount = () => {
    const account = chosenAccount();
    for (const line of chooser.querySelectorAll("[data-account]")) line.hidden = line.dataset.account !== account;
    for (const label of chooser.querySelectorAll(".prospect-account")) label.hidden = true;
    for (const radio of chooser.querySelectorAll('input[name="offer"]')) {
      const prospect = prospectOf(radio, account);
      radio.disabled = !prospect || prospect.dataset.available !== "true";
    }
    for (const flavor of chooser.querySelectorAll(".flavor")) {
      flavor.classList.toggle("unavailable", !flavor.querySelector("input:not(:disabled)"));
    }
    const picked = chooser.querySelector('input[name="offer"]:checked');
    if (!picked || picked.disabled) {
      if (picked) picked.checked = false;
      const first = chooser.querySelector('input[name="offer"]:not(:disabled)');
      if (first) first.checked = true;
    }
  };

  const showChoice = () => {
    const picked = chooser.querySelector('input[name="offer"]:checked');
    const start = chooser.querySelector("[data-start]");
    start.disabled = !picked;
    chooser.querySelector("[data-none]").hidden = Boolean(picked);
    chooser.querySelector("[data-summary]").hidden = !picked;
    chooser.querySelector("[data-start-text]").textContent = picked ? `Start ${picked.dataset.flavorTitle}` : "Start server";
    chooser.querySelector("[data-start-price]").textContent = picked ? picked.dataset.price : "";
    if (!picked) return;
    const prospect = prospectOf(picked, chosenAccount());
    const shown = {
      flavor: picked.dataset.flavorTitle,
      tier: picked.dataset.tierName,
      price: picked.dataset.price,
      account: accountLabel(),
      lasts: prospect.dataset.lasts ? `about ${prospect.dataset.lasts}` : "as long as you like",
      held: prospect.dataset.held,
    };
    for (const [name, text] of Object.entries(shown)) chooser.querySelector(`[data-show="${name}"]`).textContent = text;
    chooser.querySelector("[data-announce]").textContent =
      `${shown.flavor}, ${shown.tier}, ${shown.price}, quota lasts ${shown.lasts}.`;
  };

  if (chooser) {
    form.addEventListener("change", (event) => {
      if (event.target.name === "account") showAccount();
      showChoice();
    });
    form.addEventListener("submit", () => {
      const start = chooser.querySelector("[data-start]");
      chooser.querySelector("[data-start-text]").textContent = "Starting…";
      window.setTimeout(() => { start.disabled = true; }); // after the form has been sent
    });
    window.addEventListener("pageshow", () => { showAccount(); showChoice(); }); // also after going back
  }
}
