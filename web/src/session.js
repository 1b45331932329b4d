import { createGraphiQLFetcher } from '@graphiql/toolkit';
import { createClient } from 'graphql-ws';

const KEY = 'imagegraph:token';

/** The GraphQL endpoint, beside this page. Never with a query: tokens travel in headers only. */
export const endpoint = new URL('graphql', document.baseURI);
endpoint.search = '';
endpoint.hash = '';

/** The token this page was opened with, else the one this tab has used before. */
export function takeToken() {
  return { token: takeFragmentToken() || sessionStorage.getItem(KEY) || '' };
}

/** The token in `#token=…`, which leaves the address bar and this history entry at once. */
export function takeFragmentToken() {
  // A `+` in a fragment is a plus sign; URLSearchParams would read a space.
  const fragment = location.hash.slice(1).replaceAll('+', '%2B');
  const token = new URLSearchParams(fragment).get('token');
  if (token === null) return '';
  history.replaceState(history.state, '', location.pathname + location.search);
  return token.trim();
}

/** Keeps the token for this tab, and no longer than it. */
export function rememberToken(token) {
  if (token) sessionStorage.setItem(KEY, token);
  else sessionStorage.removeItem(KEY);
}

/**
 * What the server makes of a token: a session with `status` "in", "refused" or "unreachable".
 * One with an `editor` key is good enough for GraphiQL.
 */
export async function checkToken(token, signal) {
  const refused = { status: 'refused' };
  // Anything else cannot be a header's value, so it cannot be a token.
  if (!/^[\x21-\x7e]+$/.test(token)) return refused;
  let response;
  let body;
  try {
    response = await post(token, { signal, body: JSON.stringify({ query: CHECK }) });
    if (response.status === 401) return refused;
    body = await response.json();
  } catch (error) {
    return { status: 'unreachable', message: error.message };
  }
  const viewer = body.data?.viewer;
  if (!viewer && body.errors?.some(error => error.extensions?.code === 'UNAUTHENTICATED')) return refused;
  return {
    status: 'in',
    editor: crypto.getRandomValues(new Uint32Array(2)).join('-'),
    user: viewer?.user,
    workspaceId: viewer?.workspaces?.nodes[0]?.id,
  };
}

const CHECK = '{ viewer { user { id name role } workspaces(first: 1) { nodes { id } } } }';

/** GraphiQL's fetcher for one token; subscriptions open a WebSocket when the first one starts. */
export function connect(token, onRefused) {
  const webSocket = new URL(endpoint);
  webSocket.protocol = endpoint.protocol === 'https:' ? 'wss:' : 'ws:';
  const wsClient = createClient({
    url: webSocket.href,
    lazy: true,
    connectionParams: { Authorization: `Bearer ${token}` },
  });
  const fetcher = createGraphiQLFetcher({
    url: endpoint.href,
    enableIncrementalDelivery: false,
    wsClient,
    fetch: async (_url, init) => {
      const response = await post(token, init);
      if (response.status === 401) onRefused();
      return response;
    },
  });
  return { fetcher, close: () => wsClient.dispose() };
}

/** One request. Fails, with a sentence for people, unless the answer is JSON. */
async function post(token, { headers, ...init }) {
  const all = new Headers(headers);
  all.set('content-type', 'application/json');
  all.set('accept', 'application/graphql-response+json, application/json');
  // GraphiQL's own headers editor wins.
  if (!all.has('authorization')) all.set('authorization', `Bearer ${token}`);
  let response;
  try {
    response = await fetch(endpoint, { ...init, method: 'POST', headers: all });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw failure(`No connection to ${endpoint.href}: ${error.message}`);
  }
  const type = response.headers.get('content-type') ?? '';
  if (!/[/+]json\b/.test(type)) {
    throw failure(`${endpoint.href} answered ${response.status} with ${type || 'no content type'}, not with JSON.`);
  }
  return response;
}

/** An error without a stack, which GraphiQL would print below the sentence. */
function failure(message) {
  const error = new Error(message);
  delete error.stack;
  return error;
}
