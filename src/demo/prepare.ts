/** DATABASE_URL, of an administrator; ROLE_PASSWORD, for the roles that the shop and the streamer log in as. */
import { prepareShop } from './schema.ts';

const { DATABASE_URL = '', ROLE_PASSWORD = '' } = process.env;
await prepareShop(DATABASE_URL, ROLE_PASSWORD);
