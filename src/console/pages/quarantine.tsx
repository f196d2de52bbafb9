import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type {
  Changed,
  Failure,
  Quarantine,
  QuarantinedEvent,
  QuarantineGroup,
  Session,
} from '../../streamer/commands/console/api.ts';
import { ask, Unanswered, useAsk } from '../ask.ts';
import { bytes, count, plural, time } from '../format.ts';
import { AskBack, Code, Empty, Trouble, type Asking } from '../parts/bits.tsx';
import { Text } from '../parts/text.tsx';
import { to, type Place } from '../route.ts';
import { Columns, Shown } from './event.tsx';

type Action = 'retry' | 'discard';

export function QuarantinePage({
  session,
  slot,
  place,
}: {
  session: Session;
  slot: string;
  place: Place;
}): JSX.Element {
  const inSlot = `slot=${encodeURIComponent(slot)}`;
  const { data, failure, again } = useAsk<Quarantine>(`api/quarantine?${inSlot}`, 15_000);
  const [asking, setAsking] = useState<Asking>();
  const [result, setResult] = useState<{ changed?: Changed; failure?: Failure; isAsking?: boolean }>({});
  const change = async (action: Action, ids: readonly string[]): Promise<void> => {
    setResult({ isAsking: true });
    try {
      setResult({ changed: await ask<Changed>(`api/quarantine/${action}?${inSlot}`, { body: { ids } }) });
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      setResult({ failure: error.failure });
    }
    again();
  };
  const askBack = (action: Action, ids: readonly string[]): void =>
    setAsking({
      title: action === 'retry' ? `Retry ${plural(ids.length, 'event')}?` : `Discard ${plural(ids.length, 'event')}?`,
      text:
        action === 'retry'
          ? 'Each is inserted again, exactly once, and leaves the quarantine when ClickHouse takes it.'
          : 'ClickHouse will never get them. They stay in outbox.quarantine, marked, and are not listed.',
      act: action === 'retry' ? 'Retry' : 'Discard',
      isDangerous: action === 'discard',
      onYes: () => void change(action, ids),
    });
  const id = place.query.get('id');
  return (
    <>
      <h1>Quarantine</h1>
      <p class="dim">
        Events that ClickHouse rejected, each sent alone. They are kept in Postgres with their exact text.
      </p>
      {session.readOnly !== null && <ReadOnly why={session.readOnly} />}
      <div role="status">
        {result.isAsking === true && <p class="note">Working …</p>}
        {result.failure !== undefined && <Trouble failure={result.failure} />}
        {result.changed !== undefined && <Result changed={result.changed} />}
      </div>
      {failure !== undefined && <Trouble failure={failure} />}
      {data?.total === 0 && <Empty>The quarantine is empty.</Empty>}
      {data?.groups.map((group) => (
        <Group
          key={`${group.type} ${group.reason}`}
          group={group}
          mayChange={session.readOnly === null}
          onAct={askBack}
        />
      ))}
      {id !== null && <OneEvent id={id} inSlot={inSlot} />}
      {asking !== undefined && <AskBack asking={asking} onDone={() => setAsking(undefined)} />}
    </>
  );
}

function ReadOnly({ why }: { why: string }): JSX.Element {
  return (
    <div class="note">
      <p>Here you can only read: {why}. Elsewhere:</p>
      <Code text="pg-outbox-clickhouse quarantine retry --all" what="the command" />
    </div>
  );
}

function Result({ changed: { outcome, lines } }: { changed: Changed }): JSX.Element {
  const parts = Object.entries(outcome).filter(([, n]) => n > 0);
  const isBad = (outcome['refused'] ?? 0) + (outcome['views unproven'] ?? 0) > 0;
  const text = parts.map(([what, n]) => `${count(n)} ${what === 'refused' ? 'rejected again' : what}`).join(', ');
  return (
    <div class={`note ${isBad ? 'warn' : 'ok'}`}>
      <p>{text || 'Nothing was left to do.'}</p>
      {lines.slice(0, 20).map((line, index) => (
        <p key={index} class="mono">
          <Text of={line} />
        </p>
      ))}
    </div>
  );
}

interface GroupProps {
  readonly group: QuarantineGroup;
  readonly mayChange: boolean;
  readonly onAct: (action: Action, ids: readonly string[]) => void;
}

function Group({ group: { type, reason, count: n, events, ids }, mayChange, onAct }: GroupProps): JSX.Element {
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const there = events.filter(({ id }) => chosen.has(id)).map(({ id }) => id);
  const target = there.length > 0 ? there : ids;
  const toggle = (id: string): void =>
    setChosen(new Set(chosen.has(id) ? [...chosen].filter((other) => other !== id) : [...chosen, id]));
  return (
    <section class="group">
      <div class="row between">
        <h2>
          {count(n)} × <Text of={type} />
        </h2>
        {mayChange && (
          <div class="row">
            <button type="button" class="primary" onClick={() => onAct('retry', target)}>
              Retry {there.length > 0 ? count(there.length) : 'all'}
            </button>
            <button type="button" onClick={() => onAct('discard', target)}>
              Discard {there.length > 0 ? count(there.length) : 'all'}
            </button>
          </div>
        )}
      </div>
      <p class="mono">
        <Text of={reason} />
      </p>
      <details open={events.length <= 10}>
        <summary>
          {plural(events.length, 'event')}
          {events.length < n ? ', the first ones' : ''}
        </summary>
        <table class="list">
          <thead>
            <tr>
              {mayChange && (
                <th>
                  <span class="hidden">Chosen</span>
                </th>
              )}
              <th class="number">Number</th>
              <th>Since (UTC)</th>
              <th>Event id</th>
            </tr>
          </thead>
          <tbody>
            {events.map(({ id, eventId, at }) => (
              <tr key={id}>
                {mayChange && (
                  <td>
                    <input
                      type="checkbox"
                      checked={chosen.has(id)}
                      onChange={() => toggle(id)}
                      aria-label={`choose number ${id}`}
                    />
                  </td>
                )}
                <td class="number">{id}</td>
                <td class="time">{time(at)}</td>
                <td class="mono">
                  <a href={to('quarantine', { id })}>{eventId}</a>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </section>
  );
}

function OneEvent({ id, inSlot }: { id: string; inSlot: string }): JSX.Element {
  const { data, failure } = useAsk<QuarantinedEvent>(`api/quarantine/event?${inSlot}&id=${encodeURIComponent(id)}`);
  const section = useRef<HTMLElement>(null);
  useEffect(() => section.current?.scrollIntoView({ block: 'nearest' }), [data]);
  return (
    <section aria-labelledby="one" ref={section}>
      <div class="row between">
        <h2 id="one">Number {id}</h2>
        <a class="button" href={to('quarantine')}>
          Close
        </a>
      </div>
      {failure !== undefined && <Trouble failure={failure} />}
      {data !== undefined && <Columns columns={data.columns} />}
      {data !== undefined && data.text !== null && <Shown title="Exact text" text={data.text} size={data.bytes} />}
      {data !== undefined && data.text === null && (
        <p class="dim">
          Its context has {bytes(data.bytes)}, which this console does not show (OUTBOX_CONSOLE_PAYLOADS).
        </p>
      )}
    </section>
  );
}
