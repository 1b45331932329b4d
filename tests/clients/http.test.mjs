// GraphQL over HTTP: the audits of the reference implementation, every one of them, whatever its level.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { serverAudits } from 'graphql-http';

import { startServer } from './server.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

const audits = serverAudits({
  url: () => server.graphql,
  fetchFn: (url, init = {}) =>
    fetch(url, { ...init, headers: { ...init.headers, authorization: `Bearer ${server.token}` } }),
});

test('there are as many audits as the specification asks for', () => assert.ok(audits.length >= 61));

for (const { id, name, fn } of audits) {
  test(`${id}: ${name}`, async () => {
    const result = await fn();
    assert.equal(result.status, 'ok', `${result.reason}; status ${result.response?.status}`);
  });
}
