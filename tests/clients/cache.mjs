import { InMemoryCache } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';

// One list for each combination of these; pages of the same list are put together.
const files = relayStylePagination(['workspaceId', 'ids', 'filter', 'orderBy']);
const images = relayStylePagination(['workspaceId', 'ids', 'filter', 'orderBy']);

export const newCache = () =>
  new InMemoryCache({
    typePolicies: { Query: { fields: { files, images } }, Workspace: { fields: { files, images } } },
  });
