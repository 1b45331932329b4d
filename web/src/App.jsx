import { useEffect, useState } from 'react';

import { Explorer } from './Explorer.jsx';
import { checkToken, rememberToken, takeFragmentToken, takeToken } from './session.js';
import { TokenBar } from './TokenBar.jsx';

/** The token bar, and below it GraphiQL for whoever the token belongs to, or what is missing. */
export function App() {
  // An object, so that giving the same token again checks it again.
  const [credential, setCredential] = useState(takeToken);
  const [session, setSession] = useState({ status: 'none' });

  useEffect(() => {
    const { token } = credential;
    rememberToken(token);
    if (!token) {
      setSession({ status: 'none' });
      return undefined;
    }
    const abort = new AbortController();
    setSession({ status: 'checking' });
    checkToken(token, abort.signal).then(result => {
      if (!abort.signal.aborted) setSession(result);
    });
    return () => abort.abort();
  }, [credential]);

  // A printed address opened in this very tab changes the fragment without loading the page anew.
  useEffect(() => {
    const onHashChange = () => {
      const token = takeFragmentToken();
      if (token) setCredential({ token });
    };
    window.addEventListener('hashchange', onHashChange);
    return () => window.removeEventListener('hashchange', onHashChange);
  }, []);

  const refused = () => setSession(session => ({ ...session, status: 'refused' }));

  return (
    <>
      <TokenBar session={session} token={credential.token} onToken={token => setCredential({ token })} />
      <main>
        {session.editor ? (
          <Explorer key={session.editor} session={session} token={credential.token} onRefused={refused} />
        ) : (
          <Missing session={session} onRetry={() => setCredential({ ...credential })} />
        )}
      </main>
    </>
  );
}

/** Why there is no editor yet, and what to do about it. */
function Missing({ session, onRetry }) {
  if (session.status === 'checking') return <p className="missing">Checking the token…</p>;
  return (
    <section className="missing">
      <h1>{session.status === 'unreachable' ? 'The server did not answer' : 'Enter an API token'}</h1>
      {session.status === 'refused' && (
        <p className="problem">
          The server refused this token. It may be mistyped, expired or revoked.
        </p>
      )}
      {session.status === 'unreachable' && <p className="problem">{session.message}</p>}
      {session.status === 'unreachable' ? (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      ) : (
        <>
          <p>
            Everything here, the schema included, is for signed-in callers only. Put an API token into
            the field above: GraphiQL then opens with sample operations that are ready to run.
          </p>
          <p>
            The server prints a token on its first start. For another one, run{' '}
            <code>imagegraph token create</code> where the server runs.
          </p>
          <p>The token stays in this browser tab and is sent to this server only.</p>
        </>
      )}
    </section>
  );
}
