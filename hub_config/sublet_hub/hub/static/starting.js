// Shows how the start of a server goes, and goes there when it is ready.
{
  const box = document.querySelector("[data-progress-url]");
  const find = (selector) => box.querySelector(selector);
  let events;
  let last = "";

  const tell = (event) => {
    const line = document.createElement("li");
    if (event.html_message) line.innerHTML = event.html_message; // made and escaped by the hub
    else line.textContent = event.message;
    if (!line.textContent || line.textContent === last) return;
    last = line.textContent;
    if (event.failed) line.className = "failed";
    find(".events").append(line);
    window.subletLocalizeTimes?.(line);
  };

  const fail = () => {
    find(".meter").classList.add("failed");
    find("[data-heading]").textContent = "Your server could not be started";
    document.title = "Not started · Sublet";
    find("[data-subheading]").hidden = true;
    find("[data-stop]").hidden = true;
    find("[data-again]").hidden = find(".events .failed a") !== null; // a refusal brings its own way on
  };

  const hear = (message) => {
    const event = JSON.parse(message.data);
    if (event.progress !== undefined) find("progress").value = Math.max(find("progress").value, event.progress);
    if (!event.ready) tell(event);
    if (event.ready || event.failed) events.close();
    if (event.failed) fail();
    if (event.ready) window.location.reload(); // the hub sends us on to the server, and to the page asked for
  };

  const follow = () => {
    events = new EventSource(box.dataset.progressUrl);
    events.onmessage = hear;
  };
  follow();

  find("[data-stop]").addEventListener("click", async () => {
    const button = find("[data-stop]");
    button.disabled = true;
    events.close(); // the end of a start that is cancelled is told as if the server were ready
    find("[data-status]").textContent = "Stopping…";
    try {
      await window.subletHub.stopServer(box.dataset.user, box.dataset.server);
      window.location.assign(`${window.subletHub.base}home`);
    } catch (error) {
      find("[data-status]").textContent = error.message;
      button.disabled = false;
      follow();
    }
  });
}
