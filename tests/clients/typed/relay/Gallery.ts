// The operations of an application on Relay. The compiler reads them here; what it makes of them is what runs.

import { graphql } from 'relay-runtime';

export const gallery = graphql`
  query GalleryQuery($id: ID!, $first: Int, $after: String, $last: Int, $before: String, $orderBy: ImageOrder) {
    workspace(id: $id) {
      ...Gallery_workspace @arguments(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy)
    }
  }
`;

export const images = graphql`
  fragment Gallery_workspace on Workspace
  @refetchable(queryName: "GalleryPageQuery")
  @argumentDefinitions(
    first: { type: "Int" }
    after: { type: "String" }
    last: { type: "Int" }
    before: { type: "String" }
    orderBy: { type: "ImageOrder", defaultValue: { field: CREATED_AT, direction: DESC } }
  ) {
    images(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy)
      @connection(key: "Gallery_images", filters: ["orderBy"]) {
      __id
      totalCount
      pageInfo {
        hasNextPage
        hasPreviousPage
        startCursor
        endCursor
      }
      edges {
        cursor
        node {
          id
          ...Tile_image
        }
      }
    }
  }
`;

// What is null only after an error is typed as never null.
export const tile = graphql`
  fragment Tile_image on Image @refetchable(queryName: "TileRefetchQuery") @throwOnFieldError {
    id
    url
    width
    height
    format
    exif
    rendition(variant: "public") {
      url
      width
      height
    }
    file {
      id
      filename
      size
      imageStatus
    }
  }
`;

export const upload = graphql`
  mutation GalleryUploadMutation($input: UploadFileInput!, $connections: [ID!]!) {
    uploadFile(input: $input) {
      file {
        id
        imageStatus
        image @prependNode(connections: $connections, edgeTypeName: "ImageEdge") {
          id
          ...Tile_image
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

export const createDirectUpload = graphql`
  mutation GalleryCreateDirectUploadMutation($input: CreateDirectUploadInput!) {
    createDirectUpload(input: $input) {
      directUpload {
        id
        uploadUrl
        method
        headers {
          name
          value
        }
        formFields {
          name
          value
        }
        fileFieldName
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`;

export const completeDirectUpload = graphql`
  mutation GalleryCompleteDirectUploadMutation($input: CompleteDirectUploadInput!, $connections: [ID!]!) {
    completeDirectUpload(input: $input) {
      image @prependNode(connections: $connections, edgeTypeName: "ImageEdge") {
        id
        ...Tile_image
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`;

export const deleteImage = graphql`
  mutation GalleryDeleteMutation($input: DeleteImageInput!, $connections: [ID!]!) {
    deleteImage(input: $input) {
      deletedImageId @deleteEdge(connections: $connections)
      # One field carries one of the two.
      gone: deletedImageId @deleteRecord
      file {
        id
        imageStatus
      }
      userErrors {
        code
        message
        field
      }
    }
  }
`;
