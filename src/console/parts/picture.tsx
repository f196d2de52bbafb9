import type { ComponentChildren, JSX } from 'preact';
import type { Flow } from '../../streamer/commands/console/api.ts';
import { ago, bytes, count, duration, plural, short } from '../format.ts';
import { Text } from './text.tsx';

type Level = 'ok' | 'warn' | 'bad' | 'unknown';
/** What has just begun is nobody's concern. */
const OPEN_SECONDS = 60;
const UNKNOWN = '–';

/** The way of an event, with live figures; what nobody knows is a dash. */
export function Picture({ flow }: { flow: Flow | undefined }): JSX.Element {
  return (
    <section class="picture" aria-label="The way from the application to ClickHouse">
      <Application flow={flow} />
      <Arrow isFlowing={flow !== undefined && (flow.writtenPerSecond ?? 0) > 0} />
      <Postgres flow={flow} />
      <Arrow isFlowing={flow?.report.streamer != null} />
      <Streamer flow={flow} />
      <Arrow isFlowing={(flow?.report.eventsPerSecond ?? 0) > 0} />
      <ClickHouse flow={flow} />
    </section>
  );
}

function Arrow({ isFlowing }: { isFlowing: boolean }): JSX.Element {
  return (
    <svg class={`arrow ${isFlowing ? 'flowing' : ''}`} viewBox="0 0 24 24" aria-hidden="true">
      <path d="M3 12h16M13 6l6 6-6 6" />
    </svg>
  );
}

interface BoxProps {
  readonly name: string;
  readonly state: string;
  readonly level: Level;
  readonly figure: string;
  readonly unit: string;
  readonly children: ComponentChildren;
}

function Box({ name, state, level, figure, unit, children }: BoxProps): JSX.Element {
  return (
    <div class={`box ${level}`}>
      <h2>{name}</h2>
      <p class="state">
        <span class="dot" aria-hidden="true" /> {state}
      </p>
      <p class="figure">
        <span class="number">{figure}</span> <span class="dim">{unit}</span>
      </p>
      <dl>{children}</dl>
    </div>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Application({ flow }: { flow: Flow | undefined }): JSX.Element {
  const written = flow?.writtenPerSecond;
  const open = flow?.report.oldestTransaction;
  return (
    <Box
      name="Application"
      state={written == null ? 'unknown' : written > 0 ? 'writes' : 'quiet'}
      level={written == null ? 'unknown' : 'ok'}
      figure={written == null ? UNKNOWN : short(written)}
      unit="events/s in"
    >
      <Fact name="open">
        {flow?.report.lag == null
          ? UNKNOWN
          : open == null || open.seconds < OPEN_SECONDS
            ? 'no long transaction'
            : `a transaction for ${duration(open.seconds)}`}
      </Fact>
    </Box>
  );
}

function Postgres({ flow }: { flow: Flow | undefined }): JSX.Element {
  const { lag, slot } = flow?.report ?? {};
  const isKnown = lag != null;
  const oldest = lag?.seconds == null ? UNKNOWN : lag.oldestAt === null ? '0 s' : duration(lag.seconds);
  const level: Level = !isKnown ? 'unknown' : slot == null ? 'bad' : slot.endangered ? 'warn' : 'ok';
  return (
    <Box
      name="Postgres"
      state={!isKnown ? 'unknown' : slot == null ? 'no usable slot' : slot.endangered ? 'slot in danger' : 'keeps WAL'}
      level={level}
      figure={oldest}
      unit="oldest waits"
    >
      <Fact name="waiting">{isKnown ? `${bytes(lag.bytes)} of WAL` : UNKNOWN}</Fact>
      <Fact name="kept">{flow?.keptBytes == null ? UNKNOWN : `${bytes(flow.keptBytes)} of WAL`}</Fact>
      <Fact name="runway">{runway(isKnown, slot)}</Fact>
    </Box>
  );
}

function runway(isKnown: boolean, slot: Flow['report']['slot'] | undefined): string {
  if (!isKnown || slot == null) return UNKNOWN;
  // JSON leaves out what is not there
  if (slot.safeWalBytes === undefined) return 'no limit';
  if (slot.runwayMinutes === undefined) return `${bytes(Math.max(0, slot.safeWalBytes))}, no end in sight`;
  return `${count(slot.runwayMinutes)} min`;
}

function Streamer({ flow }: { flow: Flow | undefined }): JSX.Element {
  const { streamer, pending, refusal, repairing = false, readingBack = false, lag } = flow?.report ?? {};
  const isKnown = lag != null;
  const state = !isKnown
    ? 'unknown'
    : streamer == null
      ? repairing
        ? 'repairing'
        : 'none'
      : readingBack
        ? 'reading back'
        : 'streams';
  const batch =
    pending == null ? 'none' : `${plural(pending.rows, 'row')}, ${ago(pending.since, Date.parse(flow!.report.at))}`;
  return (
    <Box
      name="Streamer"
      state={state}
      level={!isKnown ? 'unknown' : streamer == null ? 'bad' : refusal == null ? 'ok' : 'warn'}
      figure={!isKnown ? UNKNOWN : pending == null ? '0' : short(pending.rows)}
      unit="events in flight"
    >
      <Fact name="batch">{isKnown ? batch : UNKNOWN}</Fact>
      <Fact name="holds the slot">
        {!isKnown ? UNKNOWN : streamer == null ? 'nobody' : `process ${streamer.walsender}`}
      </Fact>
      <Fact name="stands by">
        {!isKnown || streamer == null
          ? UNKNOWN
          : streamer.standbys === 0
            ? 'nobody'
            : plural(streamer.standbys, 'streamer')}
      </Fact>
    </Box>
  );
}

function ClickHouse({ flow }: { flow: Flow | undefined }): JSX.Element {
  const { clickhouse, eventsPerSecond, delivered, at = '' } = flow?.report ?? {};
  const isAway = flow !== undefined && clickhouse == null;
  return (
    <Box
      name="ClickHouse"
      state={flow === undefined ? 'unknown' : isAway ? 'no answer' : 'answers'}
      level={flow === undefined ? 'unknown' : isAway ? 'bad' : 'ok'}
      figure={isAway || eventsPerSecond == null ? UNKNOWN : short(eventsPerSecond)}
      unit="events/s out"
    >
      <Fact name="last commit">
        {clickhouse == null || delivered?.committedAt == null ? UNKNOWN : ago(delivered.committedAt, Date.parse(at))}
      </Fact>
      <Fact name="table">
        {flow?.table == null ? UNKNOWN : `${short(flow.table.rows)} rows, ${bytes(flow.table.bytes)}`}
      </Fact>
      <Fact name="parts">{flow?.table == null ? UNKNOWN : count(flow.table.parts)}</Fact>
      {clickhouse != null && (
        <Fact name="version">
          <Text of={clickhouse.version} />
        </Fact>
      )}
    </Box>
  );
}
