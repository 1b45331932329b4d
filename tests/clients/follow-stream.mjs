import { createClient } from 'graphql-sse';

const query = `subscription Follow($workspace: ID!, $after: String) {
  assetEvents(workspaceId: $workspace, after: $after) { kind cursor file { id imageStatus } image { id url } }
}`;

/** The events of a workspace, `url` being `http://…/graphql` or `https://…/graphql`. */
export async function* follow({ url, token, workspace, after }) {
  const client = createClient({ url, headers: { Authorization: `Bearer ${token}` } });
  try {
    for await (const { data } of client.iterate({ query, variables: { workspace, after } })) yield data.assetEvents;
  } finally {
    client.dispose();
  }
}
