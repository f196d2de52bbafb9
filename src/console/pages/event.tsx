import type { JSX } from 'preact';
import type { Context, EventDetail, Neighbour, Session } from '../../streamer/commands/console/api.ts';
import { useAsk } from '../ask.ts';
import { bytes, count, time } from '../format.ts';
import { Copy, Sql, Trouble } from '../parts/bits.tsx';
import { Text } from '../parts/text.tsx';
import { to, type Place } from '../route.ts';
import { linkTo } from './events.tsx';

const IS_TIME = /_at$|_time$/;

export function EventPage({ session, place }: { session: Session; place: Place }): JSX.Element {
  const { data, failure } = useAsk<EventDetail>(`api/event?${place.query.toString()}`);
  if (failure !== undefined)
    return (
      <>
        <h1>Event</h1>
        <Trouble failure={failure} />
      </>
    );
  if (data === undefined)
    return (
      <>
        <h1>Event</h1>
        <p class="dim">Looking for it …</p>
      </>
    );
  const { columns, context, batch, before, behind, sql } = data;
  return (
    <>
      <h1>
        <Text of={columns['event_type'] ?? ''} />
      </h1>
      <Links columns={columns} traceUrl={session.traceUrl} />
      <section>
        <h2>Columns</h2>
        <Columns columns={columns} />
      </section>
      <ContextOf context={context} />
      <section>
        <h2>Its place</h2>
        <p>
          {batch === null
            ? 'The other rows of its insert are not there.'
            : `Number ${count(batch.place)} of ${count(batch.rows)} rows of one insert, ${batch.first} to ${batch.last}.`}
        </p>
        <ul class="plain">
          <li>
            before it in WAL order: <NeighbourOf event={before} />
          </li>
          <li>
            behind it in WAL order: <NeighbourOf event={behind} />
          </li>
        </ul>
      </section>
      <Sql statements={sql} />
    </>
  );
}

function Links({ columns, traceUrl }: { columns: EventDetail['columns']; traceUrl: string }): JSX.Element {
  const { subject = '', trace_id: trace = '' } = columns;
  return (
    <p class="row">
      {subject !== '' && (
        <a class="button" href={to('events', { subject, since: 'all', view: 'timeline' })}>
          Timeline of its subject
        </a>
      )}
      {trace !== '' && (
        <a class="button" href={to('events', { trace, since: 'all', view: 'timeline' })}>
          Timeline of its trace
        </a>
      )}
      {trace !== '' && traceUrl !== '' && (
        <a
          class="button"
          href={traceUrl.replaceAll('{trace_id}', encodeURIComponent(trace))}
          target="_blank"
          rel="noopener noreferrer"
        >
          Open the trace ↗
        </a>
      )}
    </p>
  );
}

export function Columns({ columns }: { columns: Readonly<Record<string, string>> }): JSX.Element {
  return (
    <dl class="columns">
      {Object.entries(columns).map(([name, value]) => (
        <div key={name}>
          <dt class="mono">{name}</dt>
          <dd class="mono">
            {value === '' ? (
              <span class="dim">empty</span>
            ) : (
              <Text of={IS_TIME.test(name) ? value.replace('T', ' ').replace(/Z$/, ' UTC') : value} />
            )}
          </dd>
        </div>
      ))}
    </dl>
  );
}

function ContextOf({ context: { text, bytes: size, typed, paths } }: { context: Context }): JSX.Element {
  return (
    <section>
      <h2>Context, {bytes(size)}</h2>
      {text === null ? (
        <p class="dim">This console does not show what events contain (OUTBOX_CONSOLE_PAYLOADS).</p>
      ) : (
        <div class="columns-2">
          <Shown title="Exact text" text={text} size={size} />
          {typed !== null && <Shown title="As ClickHouse typed it" text={typed} size={size} />}
        </div>
      )}
      {paths.length > 0 && (
        <table class="list">
          <thead>
            <tr>
              <th>Key</th>
              <th>Type in ClickHouse</th>
            </tr>
          </thead>
          <tbody>
            {paths.map(({ path, type }) => (
              <tr key={path}>
                <td class="mono">
                  <Text of={path} />
                </td>
                <td class="mono">
                  <Text of={type} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

export function Shown({ title, text, size }: { title: string; text: string; size: number }): JSX.Element {
  const isCut = text.length >= 200_000;
  return (
    <div class="shown">
      <div class="row between">
        <h3>{title}</h3>
        <Copy text={text} what={title} />
      </div>
      <pre tabIndex={0} aria-label={title}>
        <Text of={text} />
      </pre>
      {isCut && <p class="dim">Only the beginning, of {bytes(size)}.</p>}
    </div>
  );
}

function NeighbourOf({ event }: { event: Neighbour | null }): JSX.Element {
  if (event === null) return <span class="dim">none nearby</span>;
  return (
    <a href={linkTo(event)}>
      <Text of={event.type} /> <span class="dim">{time(event.at)}</span>
    </a>
  );
}
