// npm oidc-provider under its FAPI 2.0 profile, in production mode, with a PostgreSQL adapter.
//
// It does what its documentation asks of a deployment and nothing besides: private_key_jwt (ES256) as the only
// client authentication, pushed requests and DPoP required, replayed proofs refused (its default), opaque tokens
// of ten minutes, refresh tokens not rotated (FAPI 2.0 section 5.3.2.1).  The client is configured statically, so
// that the provider keeps it and its parsed keys in memory, which is its fastest way.  The person's claims are one
// row in PostgreSQL, as a deployment's would be.
//
// Reads a JSON description from the variable PEER, prints a JSON line with tokens to work with, then serves with
// as many processes as it was told.
import cluster from 'node:cluster';
import { generateKeyPairSync, randomBytes } from 'node:crypto';

import Provider from 'oidc-provider';

import { account, adapter, prepare } from './store.mjs';

const told = JSON.parse(process.env.PEER);
const PERSON = 'person-1';

function configuration() {
  return {
    adapter,
    jwks: { keys: [told.signingKey] },
    cookies: { keys: [told.cookieKey] },
    clients: [{
      client_id: told.clientId,
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      id_token_signed_response_alg: 'ES256',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      redirect_uris: ['https://client.example/callback'],
      dpop_bound_access_tokens: true,
      jwks: { keys: [told.clientKey] },
      scope: 'openid offline_access email people:read',
    }],
    clientAuthMethods: ['private_key_jwt'],
    scopes: ['openid', 'offline_access', 'email', 'people:read'],
    claims: { openid: ['sub'], email: ['email'] },
    enabledJWA: { clientAuthSigningAlgValues: ['ES256'], dPoPSigningAlgValues: ['ES256'] },
    features: {
      fapi: { enabled: true, profile: '2.0' },
      pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true },
      dPoP: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_ctx, client, token) => token.clientId === client.clientId },
      revocation: { enabled: true },
      devInteractions: { enabled: false },
    },
    rotateRefreshToken: false,
    ttl: { AccessToken: 600, ClientCredentials: 600, RefreshToken: 86400, Grant: 86400, IdToken: 600 },
    async findAccount(_ctx, id) {
      const claims = await account(id);
      return claims && { accountId: id, claims: () => ({ sub: id, ...claims }) };
    },
  };
}

async function tokens(provider) {
  const { Grant, RefreshToken, AccessToken } = provider;
  const client = await provider.Client.find(told.clientId);
  const grant = new Grant({ accountId: PERSON, clientId: told.clientId });
  grant.addOIDCScope('openid offline_access email');
  const grantId = await grant.save();
  const common = { accountId: PERSON, client, grantId, scope: 'openid offline_access email', gty: 'authorization_code' };
  const authTime = Math.floor(Date.now() / 1000);
  const refreshing = Array.from({ length: told.refreshTokens }, () => new RefreshToken({ ...common, authTime }).save());
  const access = new AccessToken({ ...common, scope: 'openid email', claims: {} });
  access.jkt = told.jkt;
  return { refresh_tokens: await Promise.all(refreshing), access_token: await access.save() };
}

if (cluster.isPrimary) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  told.signingKey = { ...privateKey.export({ format: 'jwk' }), use: 'sig', alg: 'ES256', kid: 'peer' };
  told.cookieKey = randomBytes(32).toString('hex');
  await prepare(PERSON, { email: 'ada@example.org' });
  const made = await tokens(new Provider(told.issuer, configuration()));
  process.env.PEER = JSON.stringify(told);
  for (let number = 0; number < told.workers; number += 1) cluster.fork();
  let listening = 0;
  cluster.on('listening', () => {
    listening += 1;
    if (listening === told.workers) console.log(JSON.stringify(made));
  });
} else {
  new Provider(told.issuer, configuration()).listen(told.port, '127.0.0.1');
}
