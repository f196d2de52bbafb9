import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Failure } from '../../streamer/commands/console/api.ts';
import { ask, token, Unanswered } from '../ask.ts';
import { Trouble } from '../parts/bits.tsx';

export function LoginPage({ onDone }: { onDone: () => void }): JSX.Element {
  const [failure, setFailure] = useState<Failure>();
  const login = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const given = new FormData(event.currentTarget as HTMLFormElement).get('token');
    token.set(typeof given === 'string' ? given.trim() : '');
    try {
      await ask('api/session');
      onDone();
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      token.set('');
      setFailure(error.failure);
    }
  };
  return (
    <main id="main" class="login">
      <h1>pg-outbox-clickhouse</h1>
      <form onSubmit={(event) => void login(event)}>
        <label>
          Token
          <input name="token" type="password" autocomplete="off" required autofocus />
        </label>
        <p class="dim">
          What OUTBOX_CONSOLE_TOKEN holds where this console was started. This tab keeps it until it is closed.
        </p>
        <button type="submit" class="primary">
          Continue
        </button>
      </form>
      <div role="alert">{failure !== undefined && <Trouble failure={failure} />}</div>
    </main>
  );
}
