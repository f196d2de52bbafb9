import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startClickHouse, type EmbeddedClickHouse } from '../../src/embedded/clickhouse.ts';
import { command } from '../support/command.ts';
import { temporaryDirectory } from '../support/temporary.ts';
