// Live events with the public clients of both transports, graphql-ws and graphql-sse.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { createClient as createEventClient } from 'graphql-sse';
import { createClient as createSocketClient } from 'graphql-ws';
import WebSocket from 'ws';

import { apollo, upload } from './apollo.mjs';
import { png } from './pictures.mjs';
import { startServer } from './server.mjs';

let server;
before(async () => (server = await startServer()));
after(() => server?.stop());

const FOLLOW = `subscription Follow($workspace: ID!, $kinds: [AssetEventKind!], $after: String) {
  assetEvents(workspaceId: $workspace, kinds: $kinds, after: $after) {
    kind
    cursor
    fileId
    file { filename imageStatus }
    image { id width height url }
  }
}`;

/** A client by name: both have `iterate` and `dispose`. */
const clients = {
  'graphql-ws': () =>
    createSocketClient({
      url: server.graphql.replace('http:', 'ws:'),
      webSocketImpl: WebSocket,
      connectionParams: { Authorization: `Bearer ${server.token}` },
      retryAttempts: 0,
    }),
  'graphql-sse': () =>
    createEventClient({
      url: server.graphql,
      headers: { Authorization: `Bearer ${server.token}` },
      retryAttempts: 0,
    }),
};

for (const [name, connect] of Object.entries(clients)) {
  test(`${name}: an upload is told in order, and again from a cursor`, async () => {
    const client = connect();
    const before = client.iterate({ query: FOLLOW, variables: { workspace: server.workspace } });
    // Nothing tells a client that it follows: whatever it is told first, it follows from there.
    const first = before.next();
    let told = false;
    first.then(() => (told = true));
    const beacon = await send(`${name}-beacon.txt`, new TextEncoder().encode(`${name} beacon`));
    while (!told) {
      await ask('mutation ($id: ID!) { updateFile(input: { id: $id, filename: "b.txt" }) { userErrors { code } } }', {
        id: beacon.id,
      });
      await new Promise(resolve => setTimeout(resolve, 200));
    }
    const { cursor } = (await first).value.data.assetEvents;
    await before.return();

    const file = await send(`${name}.png`, png(31, 17, [name.length, 30, 90]));
    const follow = client.iterate({ query: FOLLOW, variables: { workspace: server.workspace, after: cursor } });
    const events = await take(follow, event => event.fileId === file.id, 3);
    assert.deepEqual(events.map(event => event.kind), ['FILE_CREATED', 'FILE_READY', 'IMAGE_PROVISIONED']);
    assert.equal(events[2].file.filename, `${name}.png`);
    assert.equal(events[2].file.imageStatus, 'READY');
    assert.deepEqual([events[2].image.id, events[2].image.width, events[2].image.height], [file.image.id, 31, 17]);

    // While it is connected.
    const next = await send(`${name}-next.png`, png(5, 7, [name.length, 0, 0]));
    const more = await take(follow, event => event.fileId === next.id, 3);
    assert.deepEqual(more.map(event => event.kind), ['FILE_CREATED', 'FILE_READY', 'IMAGE_PROVISIONED']);
    await follow.return();
    client.dispose();

    // Another client goes on after the second event, without a gap and without a double.
    const again = connect();
    const rest = again.iterate({
      query: FOLLOW,
      variables: { workspace: server.workspace, after: events[1].cursor, kinds: ['FILE_READY', 'IMAGE_PROVISIONED'] },
    });
    const resumed = await take(rest, () => true, 3);
    assert.deepEqual(
      resumed.map(event => [event.kind, event.fileId]),
      [['IMAGE_PROVISIONED', file.id], ['FILE_READY', next.id], ['IMAGE_PROVISIONED', next.id]],
    );
    await rest.return();
    again.dispose();
  });

  test(`${name}: a query is answered and completes; a refusal reaches the client with its code`, async () => {
    const client = connect();
    const answers = [];
    for await (const answer of client.iterate({ query: '{ viewer { user { role } } }' })) answers.push(answer);
    assert.deepEqual(answers.map((answer) => answer.data), [{ viewer: { user: { role: 'ADMIN' } } }]);
    const refused = await outcome(
      client.iterate({ query: FOLLOW, variables: { workspace: server.workspace, after: 'nonsense' } }),
    );
    assert.equal(refused[0].extensions.code, 'BAD_USER_INPUT');
    assert.deepEqual(refused[0].extensions.field, ['after']);
    client.dispose();
  });
}

/** The next events that are wanted; others are passed over. */
async function take(follow, wanted, count) {
  const events = [];
  while (events.length < count) {
    const { value, done } = await follow.next();
    assert.ok(!done, 'the subscription ended');
    assert.equal(value.errors, undefined);
    if (wanted(value.data.assetEvents)) events.push(value.data.assetEvents);
  }
  return events;
}

/** The errors of an operation: graphql-ws throws them, graphql-sse answers them. */
async function outcome(follow) {
  try {
    return (await follow.next()).value.errors;
  } catch (errors) {
    return errors;
  }
}

async function send(name, bytes) {
  const { file, userErrors } = await upload(apollo(server), server.workspace, new File([bytes], name));
  assert.deepEqual(userErrors, []);
  return file;
}

async function ask(query, variables) {
  const response = await fetch(server.graphql, {
    method: 'POST',
    headers: { authorization: `Bearer ${server.token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined);
  return data;
}
