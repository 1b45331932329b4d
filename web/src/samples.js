/**
 * The tabs GraphiQL opens with. They run as they are; where an id is yours to choose, it ends in dots.
 * GraphiQL names a tab after its operation.
 */
export function samples({ endpoint, workspaceId = 'wsp_...' }) {
  return [
    tab(`
# Who this token belongs to, and which workspaces it sees.
# Run it with the button on the right, or Ctrl-Enter.
query WhoAmI {
  viewer {
    user {
      id
      name
      role
    }
    workspaces(first: 10) {
      nodes {
        id
        name
        viewerRole
      }
    }
  }
}
`),
    tab(
      `
# The newest images, each with its delivery URL.
# Next page: put "endCursor" into the variable "after".
#
# No image yet? GraphiQL cannot send files, curl can:
#
# ${uploadLine(endpoint, workspaceId)}
query GalleryPage($workspaceId: ID, $after: String) {
  images(
    workspaceId: $workspaceId
    first: 12
    after: $after
  ) {
    totalCount
    nodes {
      id
      url
      width
      height
      rendition(variant: "public") {
        url
        width
        height
      }
      file {
        id
        filename
      }
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
      { workspaceId: known(workspaceId), after: null },
    ),
    tab(
      `
# Files of any type. One with image bytes has an "image"
# once that is provisioned.
query Files($workspaceId: ID, $after: String) {
  files(
    workspaceId: $workspaceId
    first: 20
    after: $after
  ) {
    totalCount
    nodes {
      id
      filename
      mimeType
      size
      imageStatus
      image {
        id
        url
      }
      createdAt
    }
    pageInfo {
      hasNextPage
      endCursor
    }
  }
}
`,
      { workspaceId: known(workspaceId), after: null },
    ),
    tab(
      `
# What happens in a workspace, as it happens: run this,
# then upload, rename or delete something elsewhere.
# To go on after an event, put its "cursor" into "after".
subscription AssetEvents(
  $workspaceId: ID!
  $after: String
) {
  assetEvents(
    workspaceId: $workspaceId
    after: $after
  ) {
    kind
    cursor
    at
    file {
      id
      filename
      imageStatus
    }
    image {
      id
      url
    }
  }
}
`,
      { workspaceId, after: null },
    ),
    tab(
      `
# Direct upload, step 1 of 3: a permission to send
# one file without an API token.
#
# Step 2: send it, with the answer's "uploadUrl" and
# "fileFieldName" (here: file):
#
# curl "UPLOAD_URL" -F file=@photo.jpg
#
# Step 3: the answer's "id" to CompleteDirectUpload.
mutation CreateDirectUpload(
  $input: CreateDirectUploadInput!
) {
  createDirectUpload(input: $input) {
    directUpload {
      id
      method
      uploadUrl
      formFields {
        name
        value
      }
      fileFieldName
      expiresAt
    }
    file {
      id
    }
    userErrors {
      code
      message
      field
    }
  }
}
`,
      { input: { workspaceId, filename: 'photo.jpg', mimeType: 'image/jpeg' } },
    ),
    tab(
      `
# Direct upload, step 3 of 3: the bytes were sent.
# Use the id that CreateDirectUpload answered.
mutation CompleteDirectUpload(
  $input: CompleteDirectUploadInput!
) {
  completeDirectUpload(input: $input) {
    directUpload {
      id
      status
    }
    file {
      id
      imageStatus
    }
    image {
      id
      url
      width
      height
    }
    userErrors {
      code
      message
      field
    }
  }
}
`,
      { input: { id: 'upl_...' } },
    ),
    tab(
      `
# Deletes an image; its file stays.
# Use an id that GalleryPage answered.
mutation DeleteImage($input: DeleteImageInput!) {
  deleteImage(input: $input) {
    success
    deletedImageId
    file {
      id
      filename
      imageStatus
    }
    userErrors {
      code
      message
      field
    }
  }
}
`,
      { input: { id: 'img_...' } },
    ),
  ];
}

/** One `curl` line that uploads a file by the GraphQL multipart request specification. */
function uploadLine(endpoint, workspaceId) {
  const operations = {
    query:
      'mutation($input: UploadFileInput!) { uploadFile(input: $input) ' +
      '{ file { id imageStatus image { id url width height } } userErrors { code message field } } }',
    variables: { input: { workspaceId, file: null } },
  };
  return (
    `curl ${endpoint} -H "Authorization: Bearer $TOKEN" -F operations='${JSON.stringify(operations)}' ` +
    `-F map='{"0":["variables.input.file"]}' -F 0=@photo.jpg`
  );
}

/** Lists take no workspace at all where there is none to fill in. */
function known(workspaceId) {
  return workspaceId.endsWith('...') ? null : workspaceId;
}

function tab(query, variables) {
  return { query: query.trimStart(), variables: variables && JSON.stringify(variables, null, 2) };
}
