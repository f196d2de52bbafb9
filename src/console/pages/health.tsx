import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import type { Failure, Health, Settings, Verification, Verifications } from '../../streamer/commands/console/api.ts';
import { ask, Unanswered, useAsk } from '../ask.ts';
import { count, duration, plural, time } from '../format.ts';
import { Code, Trouble } from '../parts/bits.tsx';
import { Text } from '../parts/text.tsx';

type Finding = Health['findings'][number];

const WHERE = {
  postgres: 'in Postgres',
  clickhouse: 'in ClickHouse',
  shell: 'in a shell',
  console: 'in the service’s console',
};

export function HealthPage({ slot }: { slot: string }): JSX.Element {
  return (
    <>
      <h1>Health</h1>
      <Doctor />
      <Verify slot={slot} />
      <SettingsOf />
    </>
  );
}

function Doctor(): JSX.Element {
  const { data, failure, isAsking, again } = useAsk<Health>('api/health');
  const fine = data?.findings.filter(({ level }) => level === 'ok') ?? [];
  const found = data?.findings.filter(({ level }) => level !== 'ok') ?? [];
  return (
    <section aria-labelledby="doctor">
      <div class="row between">
        <h2 id="doctor">
          What <span class="mono">doctor</span> finds
        </h2>
        <button type="button" disabled={isAsking} onClick={again}>
          {isAsking ? 'Checking …' : 'Check again'}
        </button>
      </div>
      {failure !== undefined && <Trouble failure={failure} />}
      {data !== undefined && (
        <>
          <p role="status" class={`summary ${data.errors > 0 ? 'bad' : data.warnings > 0 ? 'warn' : 'ok'}`}>
            <span class="dot" aria-hidden="true" /> {plural(data.errors, 'error')}, {plural(data.warnings, 'warning')},{' '}
            {fine.length} in order
          </p>
          {data.left.length > 0 && (
            <p class="dim">
              Not checked, because this console may only read: {data.left.join(', ')}. Run doctor with the streamer’s
              URLs.
            </p>
          )}
          {found.map((finding, index) => (
            <FindingOf key={index} finding={finding} />
          ))}
          <details>
            <summary>{fine.length} in order</summary>
            <dl class="columns">
              {fine.map(({ id, found: text }, index) => (
                <div key={index}>
                  <dt class="mono">{id}</dt>
                  <dd>
                    <Text of={text} />
                  </dd>
                </div>
              ))}
            </dl>
          </details>
        </>
      )}
    </section>
  );
}

function FindingOf({ finding: { id, level, found, why, fix } }: { finding: Finding }): JSX.Element {
  return (
    <div class={`note ${level === 'error' ? 'bad' : 'warn'}`}>
      <p>
        <strong class="mono">{id}</strong> <Text of={found} />
      </p>
      {why !== undefined && (
        <p class="next">
          <Text of={why} />
        </p>
      )}
      {fix.map(({ in: place, run }, index) => (
        <div key={index}>
          {fix[index - 1]?.in !== place && <p class="dim">Fix, {WHERE[place]}:</p>}
          <Code text={run} what={`the fix ${WHERE[place]}`} />
        </div>
      ))}
    </div>
  );
}

const WINDOWS: readonly (readonly [from: string, name: string])[] = [
  ['1h', 'of the last hour'],
  ['24h', 'of the last 24 hours'],
  ['', 'that the outbox still has'],
];

function Verify({ slot }: { slot: string }): JSX.Element {
  const { data, failure, again } = useAsk<Verifications>('api/verify', 1000);
  const [from, setFrom] = useState('1h');
  const [refused, setRefused] = useState<Failure>();
  const isRunning = data?.some(({ report, failure: failed }) => report === null && failed === null) === true;
  const start = async (): Promise<void> => {
    setRefused(undefined);
    try {
      await ask(`api/verify?slot=${encodeURIComponent(slot)}&from=${from}`, { method: 'POST' });
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error;
      setRefused(error.failure);
    }
    again();
  };
  return (
    <section aria-labelledby="verify">
      <h2 id="verify">Verify</h2>
      <p class="dim">Proves that Postgres and ClickHouse hold the same events, each as often. It reads only.</p>
      <div class="row">
        <label class="inline">
          All events{' '}
          <select onChange={({ currentTarget }) => setFrom(currentTarget.value)}>
            {WINDOWS.map(([value, name]) => (
              <option key={value} value={value} selected={value === from}>
                {name}
              </option>
            ))}
          </select>
        </label>
        <button type="button" class="primary" disabled={isRunning} onClick={() => void start()}>
          Verify
        </button>
      </div>
      {(refused ?? failure) !== undefined && <Trouble failure={(refused ?? failure)!} />}
      {data?.map((run) => (
        <Run key={run.id} run={run} />
      ))}
    </section>
  );
}

function Run({ run: { startedAt, from, seconds, progress, report, failure } }: { run: Verification }): JSX.Element {
  const window = from === '' ? 'all' : `last ${from}`;
  if (failure !== null)
    return (
      <div>
        <p class="dim">
          {time(startedAt)}, {window}
        </p>
        <Trouble failure={failure} level="warn" />
      </div>
    );
  if (report === null) {
    const done = progress !== null && 'done' in progress ? progress.done : undefined;
    const of = progress !== null && 'of' in progress ? progress.of : undefined;
    const isMeasured = done !== undefined && of !== undefined && of > 0;
    return (
      <div class="note" role="status">
        <p>
          Verifying {window}: {progress?.step ?? 'beginning'}, {duration(seconds)} so far
        </p>
        <progress aria-label="Progress of the verification" {...(isMeasured ? { value: done / of } : {})} />
      </div>
    );
  }
  const { missing, double, altered, extra, quarantined, discarded, expired, mistyped } = report;
  const { postgres, clickhouse, ofFormers } = report;
  const kinds = Object.entries({ missing, double, altered, extra, mistyped, quarantined, discarded, expired });
  return (
    <div class={`note ${report.identical ? 'ok' : 'bad'}`}>
      <p>
        <strong>{report.identical ? 'Identical' : (report.code ?? 'They differ')}</strong>: {count(postgres)} in
        Postgres, {count(clickhouse)} in ClickHouse
        {kinds.filter(([, n]) => (n ?? 0) > 0).map(([kind, n]) => `, ${count(n ?? 0)} ${kind}`)}
        {ofFormers > 0 && `; ${count(ofFormers)} of former shares were not compared`}
      </p>
      <p class="dim">
        {time(startedAt)}, {window}, took {duration(seconds)}, up to {report.snapshot}
      </p>
      {report.examples.slice(0, 20).map(({ kind, eventId, why }, index) => (
        <p key={index} class="mono">
          {kind} {eventId} <Text of={why} />
        </p>
      ))}
    </div>
  );
}

function SettingsOf(): JSX.Element {
  const { data, failure } = useAsk<Settings>('api/settings');
  return (
    <section aria-labelledby="settings">
      <h2 id="settings">Settings</h2>
      <p class="dim">Those of this console’s environment, as a streamer would read them. Passwords are left out.</p>
      {failure !== undefined && <Trouble failure={failure} />}
      {data !== undefined && (
        <dl class="columns">
          {data.map(({ name, value, from }) => (
            <div key={name} class={from === 'default' ? 'dim' : undefined}>
              <dt class="mono">{name}</dt>
              <dd class="mono">
                {value === '' ? 'empty' : <Text of={String(value)} />}{' '}
                {from !== 'default' && <span class="dim">({from})</span>}
              </dd>
            </div>
          ))}
        </dl>
      )}
    </section>
  );
}
