import { expect, test } from 'vitest';
import { refuseOld } from './version.ts';

test('refuseOld refuses servers before 25.3', () => {
  for (const version of ['25.3.1.1', '25.3.2.10.altinitystable', '25.12.1.1', '26.7.2.1']) refuseOld(version);
  for (const version of ['25.2.9.9', '24.8.4.13', '9.1.1.1'])
    expect(() => refuseOld(version)).toThrow(expect.objectContaining({ code: 'OUTBOX_CH_VERSION' }));
});
