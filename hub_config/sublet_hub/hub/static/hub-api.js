// Calls of the hub's API as the signed-in user.
{
  const data = JSON.parse(document.getElementById("hub-data").textContent);
  const path = (user, server) =>
    server
      ? `users/${encodeURIComponent(user)}/servers/${encodeURIComponent(server)}`
      : `users/${encodeURIComponent(user)}/server`;

  const call = async (method, where, body) => {
    const url = `${data.base_url}api/${where}?_xsrf=${encodeURIComponent(data.xsrf_token)}`;
    const answer = await fetch(url, {
      method,
      headers: { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (answer.ok) return answer.json().catch(() => null); // some answers have no body
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.message || `The hub answered ${answer.status}.`);
  };

  window.subletHub = {
    stopServer: (user, server) => call("DELETE", path(user, server)),
    removeServer: (user, server) => call("DELETE", path(user, server), { remove: true }),
    makeToken: (user, wanted) => call("POST", `users/${encodeURIComponent(user)}/tokens`, wanted),
    revokeToken: (user, id) => call("DELETE", `users/${encodeURIComponent(user)}/tokens/${encodeURIComponent(id)}`),
    server: (user, server) => call("GET", `users/${encodeURIComponent(user)}`).then(({ servers }) => servers[server]),
    base: data.base_url,
  };
}
