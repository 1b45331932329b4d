// Apollo Client as an application would set it up, with uploads and Relay-style lists.

import { ApolloClient, gql } from '@apollo/client';
import UploadHttpLink from 'apollo-upload-client/UploadHttpLink.mjs';

import { newCache } from './cache.mjs';

export function apollo({ graphql, token }) {
  return new ApolloClient({
    cache: newCache(),
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
