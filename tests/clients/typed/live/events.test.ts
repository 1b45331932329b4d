// Live updates with generated operations: graphql-codegen's document over graphql-ws, and Relay's into its store.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { print } from 'graphql';
import { createClient, type Client } from 'graphql-ws';
import { Environment, Network, Observable, RecordSource, Store, requestSubscription } from 'relay-runtime';
import WebSocket from 'ws';

import { startServer } from '../../server.mjs';
import { AssetEventsDocument, type AssetEventsSubscription, type AssetEventsSubscriptionVariables } from '../generated/operations';
import relayEvents, { type EventsSubscription } from '../generated/relay/EventsSubscription.graphql';
import { picture, type Server } from '../pictures';

type Event = NonNullable<AssetEventsSubscription['assetEvents']>;

let server: Server;
let socket: Client;

before(async () => {
  server = await startServer();
  socket = createClient({
    url: server.graphql.replace('http:', 'ws:'),
    webSocketImpl: WebSocket,
    connectionParams: { Authorization: `Bearer ${server.token}` },
    retryAttempts: 0,
  });
});
after(async () => {
  await socket.dispose();
  await server.stop();
});

async function upload(name: string): Promise<string> {
  const query = 'mutation ($input: UploadFileInput!) { uploadFile(input: $input) { file { id } userErrors { code } } }';
  const form = new FormData();
  form.append('operations', JSON.stringify({ query, variables: { input: { workspaceId: server.workspace, file: null } } }));
  form.append('map', '{"0":["variables.input.file"]}');
  form.append('0', picture(name, 8, 6));
  const response = await fetch(server.graphql, { method: 'POST', headers: { authorization: `Bearer ${server.token}` }, body: form });
  const { data } = await response.json();
  assert.deepEqual(data.uploadFile.userErrors, []);
  return data.uploadFile.file.id;
}

/** Follows the events until one is the last that is wanted. */
async function follow(variables: AssetEventsSubscriptionVariables, last: (event: Event) => boolean): Promise<Event[]> {
  const seen: Event[] = [];
  const answers = socket.iterate<AssetEventsSubscription>({ query: print(AssetEventsDocument), variables: { ...variables } });
  for await (const { data, errors } of answers) {
    assert.equal(errors, undefined);
    assert.ok(data?.assetEvents);
    seen.push(data.assetEvents);
    if (last(data.assetEvents)) break;
  }
  return seen;
}

test('what happened after a cursor comes first, each event once', { timeout: 60_000 }, async () => {
  const { workspace: workspaceId } = server;
  const first = await upload('first.png');
  const begun = follow({ workspaceId }, event => event.kind === 'IMAGE_PROVISIONED' && event.fileId !== first);
  // Until the subscription stands, an upload may come too early to be seen: the last one does not.
  const uploading = (async () => {
    for (let n = 0; n < 20; n += 1) await upload(`live-${n}.png`);
  })();
  const seen = await begun;
  await uploading;
  const [start] = seen;
  assert.ok(start);
  const end = seen.at(-1);
  const again = await follow({ workspaceId, after: start.cursor }, event => event.cursor === end?.cursor || seen.length === 1);
  if (seen.length > 1) assert.deepEqual(again.map(event => event.cursor), seen.slice(1).map(event => event.cursor));
});

test('an event brings the new picture into the store of Relay', { timeout: 60_000 }, async () => {
  const network = Network.create(
    () => Promise.reject(new Error('only subscriptions are asked for')),
    ({ text }, variables) =>
      Observable.create(sink => socket.subscribe({ query: text ?? '', variables }, sink as Parameters<Client['subscribe']>[1])),
  );
  const environment = new Environment({ network, store: new Store(new RecordSource()) });
  const arrived = new Promise<string>((resolve, reject) => {
    requestSubscription<EventsSubscription>(environment, {
      subscription: relayEvents,
      variables: { workspaceId: server.workspace },
      onNext: answer => answer?.assetEvents?.kind === 'IMAGE_PROVISIONED' && resolve(answer.assetEvents.imageId ?? ''),
      onError: reject,
    });
  });
  let done = false;
  const id = arrived.finally(() => (done = true));
  for (let n = 0; n < 20 && !done; n += 1) await upload(`relay-${n}.png`);
  assert.equal(environment.getStore().getSource().get(await id)?.['__typename'], 'Image');
});
