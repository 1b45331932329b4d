import type { CodegenConfig } from '@graphql-codegen/cli';

const config: CodegenConfig = {
  schema: '../../../schema.graphql',
  config: {
    scalars: {
      ByteSize: 'number',
      DateTime: 'string',
      JSON: 'unknown',
      URL: 'string',
      // The schema has a type of its own that is called File.
      Upload: 'globalThis.File',
    },
    strictScalars: true,
    enumsAsTypes: true,
    useTypeImports: true,
  },
  generates: {
    // Each in a file of its own: both define the inputs.
    'generated/schema.ts': { plugins: ['typescript'] },
    'generated/operations.ts': {
      documents: 'operations/**/*.graphql',
      plugins: ['typescript-operations', 'typed-document-node'],
    },
  },
};

export default config;
