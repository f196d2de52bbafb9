import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Failure } from '../../streamer/commands/console/api.ts';
import { Text } from './text.tsx';

const COPIED_MS = 1500;

/** Copies a text; says so for a moment. */
export function Copy({ text, what }: { text: string; what: string }): JSX.Element {
  const [state, setState] = useState('');
  const copy = async (): Promise<void> => {
    // browsers have it on localhost and over https alone
    const isDone = await Promise.resolve(navigator.clipboard?.writeText(text)).then(
      () => navigator.clipboard !== undefined,
      () => false,
    );
    setState(isDone ? 'Copied' : 'Select and copy it');
    setTimeout(() => setState(''), COPIED_MS);
  };
  return (
    <button type="button" class="small" onClick={() => void copy()} aria-label={`Copy ${what}`}>
      <span aria-live="polite">{state || 'Copy'}</span>
    </button>
  );
}

export function Code({ text, what }: { text: string; what: string }): JSX.Element {
  return (
    <div class="code">
      <pre tabIndex={0} aria-label={what}>
        <Text of={text} />
      </pre>
      <Copy text={text} what={what} />
    </div>
  );
}

export function Sql({ statements }: { statements: readonly string[] }): JSX.Element | null {
  if (statements.length === 0) return null;
  return (
    <details class="sql">
      <summary>SQL that was run</summary>
      {statements.map((statement, index) => (
        <Code key={index} text={statement} what={`statement ${index + 1}`} />
      ))}
    </details>
  );
}

/** What went wrong, and what to do. */
export function Trouble({ failure, level = 'bad' }: { failure: Failure; level?: 'bad' | 'warn' }): JSX.Element {
  const { code, message, next } = failure;
  return (
    <div class={`note ${level}`}>
      <p>
        <strong class="mono">{code}</strong> <Text of={message} />
      </p>
      <p class="next">
        {next.split('`').map((part, index) => (index % 2 === 1 ? <code class="mono">{part}</code> : part))}
      </p>
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }): JSX.Element {
  return <p class="empty">{children}</p>;
}

/** The time by this browser's clock, again every so often. */
export function useNow(everyMs: number): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

export interface Asking {
  readonly title: string;
  readonly text: string;
  readonly act: string;
  readonly isDangerous: boolean;
  readonly onYes: () => void;
}

/** Asks back, before something is changed. Escape and a click beside it mean no. */
export function AskBack({ asking, onDone }: { asking: Asking; onDone: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const { title, text, act, isDangerous, onYes } = asking;
  return (
    <dialog
      ref={dialog}
      aria-labelledby="asking"
      onClose={onDone}
      onClick={({ target }) => target === dialog.current && dialog.current?.close()}
    >
      <h2 id="asking">{title}</h2>
      <p>{text}</p>
      <div class="row end">
        <button type="button" onClick={() => dialog.current?.close()}>
          Cancel
        </button>
        <button
          type="button"
          class={isDangerous ? 'danger' : 'primary'}
          onClick={() => {
            onYes();
            dialog.current?.close();
          }}
        >
          {act}
        </button>
      </div>
    </dialog>
  );
}
