import type { Lsn } from '../../../lsn.ts';
import { ClickHouse } from '../../clickhouse/client.ts';
import { ledgerAhead } from '../../delivery/ledger-ahead.ts';
import { overviewOf } from '../../ledger/overview.ts';
import { isAside } from '../../ledger/quarantine.ts';
import { command, findingOf, ok, type Finding } from './finding.ts';
import type { PostgresCheck, PostgresSubject } from './subjects.ts';

const TIMEOUT_MS = 5000;

/** What both databases must be asked for. */
export const DELIVERED_CHECKS: readonly PostgresCheck[] = [{ id: 'postgres.delivered', examine: delivered }];

/** Another table than the streamer's, or one that has lost rows. Where ClickHouse cannot be asked, its own findings say so. */
async function delivered({ db, config }: PostgresSubject): Promise<Finding[]> {
  const id = 'postgres.delivered';
  const ledger = await overviewOf(db, config.slot);
  if (ledger === undefined || ledger.isDetached || !ledger.isOfThisSystem) return [];
  const clickhouse = new ClickHouse(config, TIMEOUT_MS);
  try {
    const isKnown = async (from: Lsn): Promise<boolean> => isAside(db, config.slot, from);
    const fault = await ledgerAhead(clickhouse, config.clickhouseTable, ledger, isKnown, TIMEOUT_MS);
    if (fault === undefined) return [ok(id, 'nothing that was delivered last is known to be missing')];
    return [{ ...findingOf(id, fault, command('verify')), level: 'warning' }];
  } finally {
    await clickhouse.close();
  }
}
