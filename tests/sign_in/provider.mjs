// A real OpenID provider for the tests: `oidc-provider` with its own development pages for signing in, and accounts that
// tests change while it runs, by requests below /test/. Started by conftest.py, which says all by environment variables.

import { createServer } from 'node:http';

const { OIDC_PROVIDER, PORT, CALLBACK, ACCESS_TOKEN_SECONDS } = process.env;
const { default: Provider } = await import(OIDC_PROVIDER);

const issuer = `http://127.0.0.1:${PORT}`;
const accounts = new Map();   // sub -> further claims
const grants = new Map();     // sub -> ids of grants
const seen = [];              // [endpoint, grant type] of each request for tokens or claims
let mode = '';                // what goes wrong on purpose

const client = (id, redirect) => ({
  client_id: id,
  client_secret: `secret-of-${id}`,
  redirect_uris: [redirect],
  grant_types: ['authorization_code', 'refresh_token'],
  token_endpoint_auth_method: 'client_secret_post',
});

const provider = new Provider(issuer, {
  clients: [client('sublet', CALLBACK), client('other', `${issuer}/test/callback`)],
  claims: {
    openid: ['sub'],
    profile: ['preferred_username', 'name'],
    email: ['email', 'email_verified'],
    groups: ['groups'],
  },
  scopes: ['openid', 'offline_access', 'profile', 'email', 'groups'],
  cookies: { keys: ['only for tests'] },
  features: { devInteractions: { enabled: true } },
  pkce: { required: () => true },
  rotateRefreshToken: true,
  clockTolerance: 0,
  ttl: { AccessToken: Number(ACCESS_TOKEN_SECONDS) },
  findAccount: (_context, sub) => accounts.has(sub)
    ? { accountId: sub, claims: () => ({ sub, ...accounts.get(sub) }) }
    : undefined,
});

provider.on('grant.success', (context) => {
  const { accountId, jti } = context.oidc.entities.Grant;
  grants.set(accountId, [...(grants.get(accountId) ?? []), jti]);
});

async function idTokenFor(clientId, sub, accessToken) {
  const token = new provider.IdToken({ sub }, { client: await provider.Client.find(clientId) });
  token.scope = 'openid';
  token.set('at_hash', accessToken);
  return token.issue({ use: 'idtoken' });
}

provider.use(async (context, next) => {
  await next();
  if (context.path === '/token') seen.push(['token', context.oidc?.params?.grant_type]);
  if (context.path === '/me') seen.push(['userinfo', context.status]);
  if (context.path !== '/token' || !context.body?.id_token) return;
  const { access_token: accessToken } = context.body;
  const { accountId } = context.oidc.entities.Grant;
  if (mode === 'other client') context.body.id_token = await idTokenFor('other', accountId, accessToken);
  if (mode === 'other person') context.body.id_token = await idTokenFor('sublet', 'somebody-else', accessToken);
  if (mode === 'other access token') context.body.id_token = await idTokenFor('sublet', accountId, 'another');
  if (mode === 'no id token') delete context.body.id_token;
});

async function endSessions(sub) {
  for (const id of grants.get(sub) ?? []) {
    await provider.AccessToken.revokeByGrantId(id);
    await provider.RefreshToken.revokeByGrantId(id);
    await (await provider.Grant.find(id))?.destroy();
  }
}

const orders = {
  account: ({ sub, claims }) => { accounts.set(sub, claims); },
  remove: ({ sub }) => { accounts.delete(sub); },
  'end-sessions': ({ sub }) => endSessions(sub),
  mode: ({ name }) => { mode = name; },
  seen: () => seen.splice(0),
};

async function obey(request, response) {
  const chunks = await Array.fromAsync(request);
  const order = orders[request.url.slice('/test/'.length)];
  const answer = order ? await order(JSON.parse(Buffer.concat(chunks).toString() || '{}')) : null;
  response.writeHead(order ? 200 : 404, { 'content-type': 'application/json' }).end(JSON.stringify(answer ?? null));
}

const serve = provider.callback();
createServer((request, response) => {
  if (request.url.startsWith('/test/') && request.method === 'POST') obey(request, response);
  else if (request.url.startsWith('/test/')) response.end();
  else if (mode === 'away') response.writeHead(503).end();
  else serve(request, response);
}).listen(Number(PORT), '127.0.0.1');
