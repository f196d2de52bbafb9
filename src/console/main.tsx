import { render, type JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Session } from '../streamer/commands/console/api.ts';
import { token, useAsk, whenUnauthorized } from './ask.ts';
import { Trouble } from './parts/bits.tsx';
import { Text } from './parts/text.tsx';
import { EventPage } from './pages/event.tsx';
import { EventsPage } from './pages/events.tsx';
import { FlowPage, useFlow } from './pages/flow.tsx';
import { HealthPage } from './pages/health.tsx';
import { LoginPage } from './pages/login.tsx';
import { QuarantinePage } from './pages/quarantine.tsx';
import { to, usePlace, type Place } from './route.ts';

const SESSION_MS = 60_000;
const PAGES: readonly (readonly [page: string, name: string])[] = [
  ['flow', 'Flow'],
  ['events', 'Events'],
  ['quarantine', 'Quarantine'],
  ['health', 'Health'],
];

function App(): JSX.Element {
  const [isWanted, setWanted] = useState(false);
  const [round, setRound] = useState(0);
  useEffect(() => whenUnauthorized(() => setWanted(true)), []);
  const done = (): void => {
    setWanted(false);
    setRound(round + 1);
  };
  return isWanted ? <LoginPage onDone={done} /> : <Console key={round} />;
}

function Console(): JSX.Element {
  const place = usePlace();
  const { data: session, failure } = useAsk<Session>('api/session', SESSION_MS);
  const [slot, setSlot] = useState<string>();
  if (session === undefined) {
    return (
      <main id="main">{failure === undefined ? <p class="dim">Looking …</p> : <Trouble failure={failure} />}</main>
    );
  }
  return <Pages session={session} slot={slot ?? session.slot} onSlot={setSlot} place={place} />;
}

interface PagesProps {
  readonly session: Session;
  readonly slot: string;
  readonly onSlot: (slot: string) => void;
  readonly place: Place;
}

function Pages({ session, slot, onSlot, place }: PagesProps): JSX.Element {
  const flow = useFlow(slot);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  const { page } = place;
  const name = PAGES.find(([known]) => known === page)?.[1] ?? 'Event';
  useEffect(() => {
    document.title = `${name} · ${session.database} · pg-outbox-clickhouse`;
    // a screen reader begins at the new page
    if (!isFirst.current) main.current?.focus();
    isFirst.current = false;
  }, [page]);
  const quarantined = flow.data?.report.quarantined ?? 0;
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        Skip to the page
      </a>
      <header class="top">
        <span class="brand">
          <img src="./favicon.svg" alt="" width="20" height="20" /> <Text of={session.database} />
        </span>
        <nav aria-label="Pages">
          {PAGES.map(([known, text]) => (
            <a
              key={known}
              href={to(known)}
              aria-current={known === page || (known === 'events' && page === 'event') ? 'page' : undefined}
            >
              {text}
              {known === 'quarantine' && quarantined > 0 && <span class="badge"> {quarantined}</span>}
            </a>
          ))}
        </nav>
        {session.slots.length > 1 && (
          <label class="inline slot">
            Slot{' '}
            <select onChange={({ currentTarget }) => onSlot(currentTarget.value)}>
              {session.slots.map((known) => (
                <option key={known} value={known} selected={known === slot}>
                  {known}
                </option>
              ))}
            </select>
          </label>
        )}
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {page === 'events' ? (
          <EventsPage session={session} place={place} />
        ) : page === 'event' ? (
          <EventPage session={session} place={place} />
        ) : page === 'quarantine' ? (
          <QuarantinePage session={session} slot={slot} place={place} />
        ) : page === 'health' ? (
          <HealthPage slot={slot} />
        ) : (
          <FlowPage slot={slot} place={place} flow={flow} />
        )}
      </main>
      <footer class="dim">
        pg-outbox-clickhouse {session.version}
        {session.readOnly !== null && <> · reads only: {session.readOnly}</>}
      </footer>
    </>
  );
}

/** A link may bring the token behind its #, which no server sees; the address must not keep it. */
function takeToken(): void {
  const given = /^#token=(.+)$/.exec(location.hash)?.[1];
  if (given === undefined) return;
  token.set(decodeURIComponent(given));
  history.replaceState(null, '', `${location.pathname}#/flow`);
}

takeToken();
render(<App />, document.querySelector('#app')!);
