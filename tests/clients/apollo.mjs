// Apollo Client as an application would set it up, with uploads and Relay-style lists.

import { ApolloClient, InMemoryCache, gql } from '@apollo/client';
import { relayStylePagination } from '@apollo/client/utilities';
import UploadHttpLink from 'apollo-upload-client/UploadHttpLink.mjs';

export function apollo({ graphql, token }) {
  const images = relayStylePagination(['workspaceId', 'orderBy']);
  return new ApolloClient({
    cache: new InMemoryCache({ typePolicies: { Query: { fields: { images } } } }),
    link: new UploadHttpLink({ uri: graphql, headers: { authorization: `Bearer ${token}` } }),
  });
}

/** Uploads one file; answers `uploadFile`'s payload. */
export async function upload(client, workspaceId, file, image) {
  const { data } = await client.mutate({
    mutation: UPLOAD,
    variables: { input: { workspaceId, file, image } },
  });
  return data.uploadFile;
}

const UPLOAD = gql`
  mutation Upload($input: UploadFileInput!) {
    uploadFile(input: $input) {
      file {
        id
        filename
        mimeType
        size
        imageStatus
        image {
          id
          width
          height
          url
          exif
        }
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`;
