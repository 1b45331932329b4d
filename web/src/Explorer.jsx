import { createLocalStorage } from '@graphiql/toolkit';
import { GraphiQL } from 'graphiql';
import { useEffect, useState } from 'react';

import { samples } from './samples.js';
import { connect, endpoint } from './session.js';

/** GraphiQL as one user sees it; another user gets another one, with tabs and history of their own. */
export function Explorer({ session, token, onRefused }) {
  const [connection] = useState(() => connect(token, onRefused));
  useEffect(() => connection.close, [connection]);

  const [settings] = useState(() => ({
    defaultTabs: samples({ endpoint: endpoint.href, workspaceId: session.workspaceId }),
    storage: createLocalStorage({ namespace: `imagegraph:${session.user?.id ?? 'unknown'}` }),
  }));

  return (
    <GraphiQL
      fetcher={connection.fetcher}
      defaultTabs={settings.defaultTabs}
      storage={settings.storage}
      defaultEditorToolsVisibility="variables"
      inputValueDeprecation
      shouldPersistHeaders={false}
    />
  );
}
