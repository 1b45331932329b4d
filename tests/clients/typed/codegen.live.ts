import base from './codegen';

const operations = 'generated/operations.ts';
const { plugins } = { plugins: [], ...base.generates[operations] };

export default {
  ...base,
  generates: {
    ...base.generates,
    [operations]: { documents: ['operations/*.graphql', 'operations/live/*.graphql'], plugins },
  },
};
