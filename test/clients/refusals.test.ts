import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { emitEvent, emitEvents, type Transaction } from '../../src/app/index.ts';
import { Outbox } from '../support/outbox.ts';
import { eventually } from '../support/wait.ts';
import { printed, rejection, type Stored, storedIn } from './looking.ts';
import { CLIENTS } from './subjects/all.ts';
import type { Opened, Subject } from './subjects/subject.ts';

const CANARY = 'canary-4b7e02';

let outbox: Outbox;

beforeAll(async () => {
  outbox = await Outbox.create();
});

afterAll(async () => {
  await outbox[Symbol.asyncDispose]();
});

async function stored(): Promise<Stored[]> {
  return storedIn(outbox.postgres);
}

function shown(error: Error): { code: unknown; message: string } {
  return { code: Reflect.get(error, 'code'), message: error.message };
}

describe.for(CLIENTS.map((client) => [client.name, client] as const))(
  'emitting through %s',
  ([, { connect, tells, diesWithConnection }]) => {
    let subject: Subject;

    beforeAll(async () => {
      subject = await connect(outbox.databaseUrl);
    });

    afterEach(async () => {
      await outbox.postgres.query('TRUNCATE outbox.event');
    });

    afterAll(async () => {
      await subject.close();
    });

    /** The error of `emit` in a new transaction, and the error with which that transaction then ends. */
    async function failing(
      prepare: (opened: Opened) => PromiseLike<unknown>,
      emit: (tx: Transaction) => Promise<unknown>,
      stays = false,
    ): Promise<{ error: Error; ended: Error }> {
      const { promise, resolve } = Promise.withResolvers<Error>();
      const ended = rejection(
        subject.transaction(async (opened) => {
          await prepare(opened);
          const error = await rejection(emit(opened.tx));
          resolve(error);
          if (stays) await new Promise(() => undefined);
          throw error;
        }),
      );
      // in this order, because postgres.js ends a transaction by itself when its connection is lost
      return { error: await promise, ended: await ended };
    }

    test('emitEvent rejects a value that is no open transaction, and names what to pass', async () => {
      for (const [name, given, says] of subject.refused) {
        const error = await rejection(emitEvent(given as Transaction, { type: 'a', context: { secret: CANARY } }));
        expect({ name, ...shown(error) }).toEqual({
          name,
          code: 'OUTBOX_NO_TRANSACTION',
          message: expect.stringMatching(says),
        });
      }
      expect(await stored()).toEqual([]);
    });

    test('emitEvent rejects in a failed transaction', async () => {
      const { error } = await failing(
        async ({ run }) => {
          // pg knows of the failure only after the next answer
          for (const statement of ['SELECT 1/0', 'SELECT 1']) await rejection(run(statement));
        },
        (tx) => emitEvent(tx, { type: 'a', context: {} }),
      );
      expect(error).toMatchObject(
        tells.failed ? { code: 'OUTBOX_NO_TRANSACTION' } : { code: 'OUTBOX_EMIT_FAILED', sqlState: '25P02' },
      );
      expect(await stored()).toEqual([]);
    });

    test.runIf(tells.over)('emitEvent rejects a transaction that has ended', async () => {
      let kept: Transaction | undefined;
      await subject.transaction(async ({ tx }) => {
        kept = tx;
      });
      await expect(emitEvent(kept!, { type: 'a', context: {} })).rejects.toMatchObject({
        code: 'OUTBOX_NO_TRANSACTION',
      });
      expect(await stored()).toEqual([]);
    });

    test('emitEvents rejects with the SQLSTATE, and no value, when a constraint fails (invariant 10)', async () => {
      const constraint = async (check: string): Promise<unknown> =>
        outbox.postgres.query(
          `ALTER TABLE outbox.event DROP CONSTRAINT IF EXISTS no_a, ADD CONSTRAINT no_a CHECK (${check})`,
        );
      try {
        for (const [count, sqlState, check] of [
          [1, '23514', "event_type <> 'a'"],
          [2, '23514', "event_type <> 'a'"],
          // the message of a cast to a name quotes the value
          [1, '42704', "(event_context->>'secret')::regconfig IS NOT NULL"],
        ] as const) {
          await constraint(check);
          const { error, ended } = await failing(
            async () => undefined,
            (tx) =>
              emitEvents(
                tx,
                Array.from({ length: count }, () => ({ type: 'a', context: { secret: CANARY } })),
              ),
          );
          expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', sqlState });
          expect(printed(error)).not.toContain(CANARY);
          expect(ended).toBe(error);
        }
      } finally {
        await outbox.postgres.query('ALTER TABLE outbox.event DROP CONSTRAINT IF EXISTS no_a');
      }
    });

    test('no error holds a value when a trigger raises the context, even if the caller goes on (invariant 10)', async () => {
      await outbox.postgres.query(`
      CREATE FUNCTION raise() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          RAISE EXCEPTION 'refused: %', NEW.event_context
            USING ERRCODE = '42501', DETAIL = NEW.event_context, HINT = NEW.event_context, TABLE = NEW.event_context,
              CONSTRAINT = NEW.event_context;
        END $$;
      CREATE TRIGGER raise BEFORE INSERT ON outbox.event FOR EACH ROW EXECUTE FUNCTION raise()`);
      try {
        let error: Error | undefined;
        const [ended] = await Promise.allSettled([
          subject.transaction(async ({ tx }) => {
            error = await rejection(emitEvent(tx, { type: 'a', context: { secret: CANARY } }));
          }),
        ]);
        expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', sqlState: '42501' });
        expect(printed(error!)).not.toContain(CANARY);
        // some clients then throw the error of the driver
        expect(ended.status === 'fulfilled' ? '' : printed(ended.reason as Error)).not.toContain(CANARY);
        expect(await stored()).toEqual([]);
      } finally {
        await outbox.postgres.query('DROP FUNCTION raise CASCADE');
      }
    });

    test('emitEvent rejects with the SQLSTATE, and no value, when the table is missing', async () => {
      const { error } = await failing(
        ({ run }) => run('ALTER TABLE outbox.event RENAME TO gone'),
        (tx) => emitEvent(tx, { type: 'a', context: { secret: CANARY } }),
      );
      expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED', sqlState: '42P01' });
      expect(printed(error)).not.toContain(CANARY);
    });

    test('emitEvent rejects without a value when the connection is lost during the INSERT', async () => {
      const admin = await outbox.postgres.connect();
      try {
        await admin.query('BEGIN; LOCK TABLE outbox.event');
        const lost = failing(
          ({ run }) => run("SELECT set_config('application_name', 'doomed', false)"),
          (tx) => emitEvent(tx, { type: 'a', context: { secret: CANARY } }),
          diesWithConnection,
        );
        const kill = `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE application_name = 'doomed' AND wait_event_type = 'Lock'`;
        await eventually(
          'the INSERT waits and is killed',
          async () => (await outbox.postgres.query(kill)).rowCount === 1,
        );
        const { error } = await lost;
        expect(error).toMatchObject({ code: 'OUTBOX_EMIT_FAILED' });
        expect(printed(error)).not.toContain(CANARY);
      } finally {
        await admin.query('ROLLBACK');
        admin.release();
      }
      expect(await stored()).toEqual([]);
    });
  },
);
