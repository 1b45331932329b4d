// What an application on Relay follows while it shows a gallery.

import { graphql } from 'relay-runtime';

export const events = graphql`
  subscription EventsSubscription($workspaceId: ID!, $after: String) {
    assetEvents(workspaceId: $workspaceId, after: $after) {
      kind
      cursor
      fileId
      file {
        id
        imageStatus
      }
      imageId
      image {
        id
        ...Tile_image
      }
    }
  }
`;
