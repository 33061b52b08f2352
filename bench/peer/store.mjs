// The adapter that oidc-provider's documentation describes, over one pool of connections and prepared statements.
//
// One table by (kind, id), the payload as JSON, the members that are searched for beside it with an index each,
// and an expiry that every read respects.  Each call is one statement and one commit.
import pg from 'pg';

// Connections stay open, so that the pauses between rounds cost nothing.
const pool = new pg.Pool({ max: 10, idleTimeoutMillis: 0 });

const TABLE = `
  CREATE TABLE IF NOT EXISTS payload (
    kind text NOT NULL, id text NOT NULL, data json NOT NULL, grant_id text, uid text, user_code text,
    consumed_at timestamptz, expires_at timestamptz, PRIMARY KEY (kind, id));
  CREATE INDEX IF NOT EXISTS payload_grant_id ON payload (grant_id) WHERE grant_id IS NOT NULL;
  CREATE INDEX IF NOT EXISTS payload_uid ON payload (uid) WHERE uid IS NOT NULL;
  CREATE INDEX IF NOT EXISTS payload_user_code ON payload (user_code) WHERE user_code IS NOT NULL;
  CREATE INDEX IF NOT EXISTS payload_expires_at ON payload (expires_at);
  CREATE TABLE IF NOT EXISTS account (id text PRIMARY KEY, claims json NOT NULL)`;
const LIVING = 'AND (expires_at IS NULL OR expires_at > now())';
const READ = 'SELECT data, consumed_at FROM payload WHERE kind = $1 AND';
const STATEMENTS = {
  upsert: `INSERT INTO payload (kind, id, data, grant_id, uid, user_code, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))
           ON CONFLICT (kind, id) DO UPDATE SET data = excluded.data, grant_id = excluded.grant_id,
             uid = excluded.uid, user_code = excluded.user_code, expires_at = excluded.expires_at`,
  find: `${READ} id = $2 ${LIVING}`,
  find_by_uid: `${READ} uid = $2 ${LIVING}`,
  find_by_user_code: `${READ} user_code = $2 ${LIVING}`,
  consume: 'UPDATE payload SET consumed_at = now() WHERE kind = $1 AND id = $2',
  destroy: 'DELETE FROM payload WHERE kind = $1 AND id = $2',
  revoke: 'DELETE FROM payload WHERE kind = $1 AND grant_id = $2',
  account: 'SELECT claims FROM account WHERE id = $1',
};

function run(name, values) {
  return pool.query({ name, text: STATEMENTS[name], values });
}

async function read(name, values) {
  const { rows: [row] } = await run(name, values);
  if (!row) return undefined;
  return row.consumed_at ? { ...row.data, consumed: true } : row.data;
}

export function adapter(kind) {
  return {
    upsert: (id, data, seconds) => run(
      'upsert',
      [kind, id, JSON.stringify(data), data.grantId ?? null, data.uid ?? null, data.userCode ?? null, seconds ?? null],
    ),
    find: (id) => read('find', [kind, id]),
    findByUid: (uid) => read('find_by_uid', [kind, uid]),
    findByUserCode: (code) => read('find_by_user_code', [kind, code]),
    consume: (id) => run('consume', [kind, id]),
    destroy: (id) => run('destroy', [kind, id]),
    revokeByGrantId: (grantId) => run('revoke', [kind, grantId]),
  };
}

export async function account(id) {
  const { rows: [row] } = await run('account', [id]);
  return row?.claims;
}

export async function prepare(id, claims) {
  await pool.query(TABLE);
  await pool.query('INSERT INTO account (id, claims) VALUES ($1, $2)', [id, JSON.stringify(claims)]);
}
