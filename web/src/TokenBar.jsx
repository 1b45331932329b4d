import { useEffect, useRef, useState } from 'react';

/** The slim bar above the editor: the token and what the server makes of it. */
export function TokenBar({ session, token, onToken }) {
  const [draft, setDraft] = useState(token);
  const [shown, setShown] = useState(false);
  const field = useRef(null);

  useEffect(() => setDraft(token), [token]);
  useEffect(() => {
    if (!token) field.current.focus();
  }, [token]);

  const submit = event => {
    event.preventDefault();
    setShown(false);
    onToken(draft.trim());
  };

  return (
    <header className="bar">
      <span className="brand">imagegraph</span>
      <form onSubmit={submit}>
        <label htmlFor="token">API token</label>
        <input
          id="token"
          ref={field}
          type={shown ? 'text' : 'password'}
          value={draft}
          onChange={event => setDraft(event.target.value)}
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          data-1p-ignore
          data-lpignore="true"
          aria-describedby="session"
        />
        <button type="button" aria-pressed={shown} aria-controls="token" onClick={() => setShown(!shown)}>
          {shown ? 'Hide' : 'Show'}
        </button>
        <button type="submit" className="main" disabled={!draft.trim()}>
          Use token
        </button>
        {token && (
          <button type="button" onClick={() => onToken('')}>
            Forget
          </button>
        )}
      </form>
      <span id="session" role="status" className={`session ${session.status}`}>
        {sentence(session)}
      </span>
    </header>
  );
}

function sentence({ status, user }) {
  switch (status) {
    case 'none':
      return 'no token';
    case 'checking':
      return 'checking…';
    case 'refused':
      return 'token refused';
    case 'unreachable':
      return 'no answer from the server';
    default:
      return user ? `signed in as ${user.name} (${user.role})` : 'token accepted, but the caller is unknown';
  }
}
