import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import type { Failure, Found, Listed, Session } from '../../streamer/commands/console/api.ts';
import { ask, Unanswered, useAsk } from '../ask.ts';
import { bytes, duration, plural, time } from '../format.ts';
import { Empty, Sql, Trouble } from '../parts/bits.tsx';
import { Text } from '../parts/text.tsx';
import { go, to, type Place } from '../route.ts';

const TIMES: readonly (readonly [value: string, name: string])[] = [
  ['1h', 'last hour'],
  ['24h', 'last 24 hours'],
  ['7d', 'last 7 days'],
  ['31d', 'last 31 days'],
  ['', 'all time'],
];
const DEFAULT_TIME = '24h';
const FIELDS = ['type', 'subject', 'environment', 'id', 'trace', 'text', 'path', 'value'] as const;

/** Of the page's address; the server wants no `view`. */
function questionOf({ query }: Place, cursor?: string): string {
  const asked = new URLSearchParams();
  const since = query.get('since') ?? DEFAULT_TIME;
  if (query.has('from') || query.has('to')) {
    for (const name of ['from', 'to']) if (query.has(name)) asked.set(name, query.get(name)!);
  } else if (since !== 'all') asked.set('from', since);
  for (const name of FIELDS) if (query.has(name)) asked.set(name, query.get(name)!);
  if (query.get('view') === 'timeline') asked.set('order', 'oldest');
  if (cursor !== undefined) asked.set('cursor', cursor);
  return `api/events?${asked.toString()}`;
}

export function EventsPage({ session, place }: { session: Session; place: Place }): JSX.Element {
  const question = questionOf(place);
  const { data, failure, isAsking } = useAsk<Found>(question);
  const isTimeline = place.query.get('view') === 'timeline';
  const [more, setMore] = useMore(question, place);
  const events = [...(data?.events ?? []), ...more.events];
  const hasMore = more.events.length > 0 ? more.hasMore : data?.hasMore === true;
  const here = Object.fromEntries(place.query);
  return (
    <>
      <h1>Events</h1>
      <SearchForm key={question} session={session} place={place} />
      {failure !== undefined && <Trouble failure={failure} />}
      {data !== undefined && (
        <>
          <div class="row between">
            <p class="dim" role="status">
              {events.length === 0 ? 'no event' : plural(events.length, 'event')}
              {hasMore ? ', and more' : ''} · {duration(data.ms / 1000)}
            </p>
            <nav class="tabs" aria-label="View">
              <a href={to('events', { ...here, view: undefined })} aria-current={isTimeline ? undefined : 'true'}>
                List
              </a>
              <a href={to('events', { ...here, view: 'timeline' })} aria-current={isTimeline ? 'true' : undefined}>
                Timeline
              </a>
            </nav>
          </div>
          {events.length === 0 ? (
            <Empty>No event fits. Try a longer time, or fewer conditions.</Empty>
          ) : isTimeline ? (
            <Timeline events={events} />
          ) : (
            <List events={events} />
          )}
          {more.failure !== undefined && <Trouble failure={more.failure} />}
          {hasMore && (
            <button type="button" disabled={more.isAsking} onClick={() => setMore(events.at(-1)!.cursor)}>
              {isTimeline ? 'Later events' : 'Earlier events'}
            </button>
          )}
          <Sql statements={[data.sql]} />
        </>
      )}
      {isAsking && data === undefined && failure === undefined && <p class="dim">Searching …</p>}
    </>
  );
}

interface More {
  readonly events: readonly Listed[];
  readonly hasMore: boolean;
  readonly isAsking: boolean;
  readonly failure: Failure | undefined;
}

const NO_MORE: More = { events: [], hasMore: false, isAsking: false, failure: undefined };

/** The pages behind the first, which are dropped with the question. */
function useMore(question: string, place: Place): [More, (cursor: string) => void] {
  const [more, setMore] = useState(NO_MORE);
  const [cursor, setCursor] = useState<string>();
  useEffect(() => {
    setMore(NO_MORE);
    setCursor(undefined);
  }, [question]);
  useEffect(() => {
    if (cursor === undefined) return undefined;
    const leaving = new AbortController();
    setMore((last) => ({ ...last, isAsking: true, failure: undefined }));
    ask<Found>(questionOf(place, cursor), { signal: leaving.signal }).then(
      ({ events, hasMore }) =>
        setMore((last) => ({ events: [...last.events, ...events], hasMore, isAsking: false, failure: undefined })),
      (error: unknown) => {
        if (error instanceof Unanswered) setMore((last) => ({ ...last, isAsking: false, failure: error.failure }));
      },
    );
    return () => leaving.abort();
  }, [cursor]);
  return [more, setCursor];
}

function SearchForm({ session, place }: { session: Session; place: Place }): JSX.Element {
  const { query } = place;
  const search = (event: SubmitEvent): void => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.currentTarget as HTMLFormElement)) as Record<string, string>;
    const hasOwnTimes = given['since'] === 'own';
    go('events', {
      ...given,
      since: hasOwnTimes ? undefined : given['since'],
      from: hasOwnTimes ? given['from'] : undefined,
      to: hasOwnTimes ? given['to'] : undefined,
      view: query.get('view') ?? undefined,
    });
  };
  const [isOwn, setOwn] = useState(query.has('from') || query.has('to'));
  const since = query.get('since') ?? DEFAULT_TIME;
  return (
    <form class="search" onSubmit={search} role="search">
      <label>
        Time
        <select name="since" onChange={({ currentTarget }) => setOwn(currentTarget.value === 'own')}>
          {TIMES.map(([value, name]) => (
            <option key={value} value={value || 'all'} selected={!isOwn && (value || 'all') === since}>
              {name}
            </option>
          ))}
          <option value="own" selected={isOwn}>
            from … to
          </option>
        </select>
      </label>
      {isOwn && <Field name="from" text="From (UTC)" place={place} hint="2026-11-30 18:00" />}
      {isOwn && <Field name="to" text="To (UTC)" place={place} hint="2026-11-30 19:00" />}
      <Field name="type" text="Type" place={place} hint="order.placed" />
      <Field name="subject" text="Subject" place={place} hint="order:7" />
      <Field name="environment" text="Environment" place={place} hint="production" />
      <Field name="id" text="Event id" place={place} hint="UUID" />
      <Field name="trace" text="Trace id" place={place} hint="32 hex digits" />
      {session.payloads && <Field name="text" text="Text in the context" place={place} />}
      {session.payloads && <Field name="path" text="Path in the context" place={place} hint="customer.id" />}
      {session.payloads && <Field name="value" text="… has the value" place={place} hint="42" />}
      <div class="row end">
        <a class="button" href={to('events')}>
          Clear
        </a>
        <button type="submit" class="primary">
          Search
        </button>
      </div>
    </form>
  );
}

function Field({
  name,
  text,
  place,
  hint = '',
}: {
  name: string;
  text: string;
  place: Place;
  hint?: string;
}): JSX.Element {
  return (
    <label>
      {text}
      <input
        name={name}
        type="text"
        value={place.query.get(name) ?? ''}
        placeholder={hint}
        autocomplete="off"
        spellcheck={false}
      />
    </label>
  );
}

export function linkTo({ id, source, lsn, seq }: Pick<Listed, 'id' | 'source' | 'lsn' | 'seq'>): string {
  return to('event', { id, source, lsn, seq: String(seq) });
}

function List({ events }: { events: readonly Listed[] }): JSX.Element {
  return (
    <table class="list">
      <thead>
        <tr>
          <th>Time (UTC)</th>
          <th>Type</th>
          <th>Subject</th>
          <th>Environment</th>
          <th class="number">Context</th>
        </tr>
      </thead>
      <tbody>
        {events.map((event) => (
          <tr key={event.cursor}>
            <td class="time">
              <a href={linkTo(event)}>{time(event.at)}</a>
            </td>
            <td>
              <Text of={event.type} />
            </td>
            <td class="mono">
              <Text of={event.subject} />
            </td>
            <td>
              <Text of={event.environment} />
            </td>
            <td class="number">{bytes(event.bytes)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The oldest first, with the time between each and the one before. */
function Timeline({ events }: { events: readonly Listed[] }): JSX.Element {
  return (
    <ol class="timeline">
      {events.map((event, index) => {
        const before = events[index - 1];
        const gap = before === undefined ? undefined : (Date.parse(event.at) - Date.parse(before.at)) / 1000;
        return (
          <li key={event.cursor}>
            <span class="gap dim">{gap === undefined ? '' : `+${duration(gap)}`}</span>
            <a href={linkTo(event)}>{time(event.at)}</a>
            <strong>
              <Text of={event.type} />
            </strong>
            <span class="mono">
              <Text of={event.subject} />
            </span>
          </li>
        );
      })}
    </ol>
  );
}
