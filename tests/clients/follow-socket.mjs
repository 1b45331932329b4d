import { createClient } from 'graphql-ws';

const query = `subscription Follow($workspace: ID!, $after: String) {
  assetEvents(workspaceId: $workspace, after: $after) { kind cursor file { id imageStatus } image { id url } }
}`;

/** The events of a workspace, `url` being `ws://…/graphql` or `wss://…/graphql`. */
export async function* follow({ url, token, workspace, after, webSocketImpl }) {
  const client = createClient({ url, webSocketImpl, connectionParams: { Authorization: `Bearer ${token}` } });
  try {
    for await (const { data } of client.iterate({ query, variables: { workspace, after } })) yield data.assetEvents;
  } finally {
    await client.dispose();
  }
}
