// A company's server, as its developers would write it with openid-client: documented options only.

import { importJWK } from 'jose'
import * as client from 'openid-client'

export const LOOPBACK = { execute: [client.allowInsecureRequests] }

/** Return the private key of a JWK with its kid, as openid-client takes it. */
export async function signer (jwk) {
  return { key: await importJWK(jwk, jwk.kid === 's1' ? 'ES256' : undefined), kid: jwk.kid }
}

/** Discover the server as `known` ({ client_id, key, metadata }); `how` are further functions to set it up with. */
export async function configured (issuer, known, ...how) {
  const authentication = client.PrivateKeyJwt(await signer(known.key))
  const execute = [...LOOPBACK.execute, ...how]
  return client.discovery(new URL(issuer), known.client_id, known.metadata ?? {}, authentication, { execute })
}

/** Return what one authorization request needs, and what its answer is checked with. */
export async function begun (given, more = {}) {
  const pkceCodeVerifier = client.randomPKCECodeVerifier()
  const [expectedState, expectedNonce] = [client.randomState(), client.randomNonce()]
  const parameters = {
    redirect_uri: given.redirect_uri,
    scope: 'openid profile email',
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: 'S256',
    state: expectedState,
    nonce: expectedNonce,
    authorization_details: JSON.stringify([{ type: 'ucm_profile', purpose: given.purpose }]),
    ...more
  }
  return { parameters, checks: { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true } }
}

/** Walk from the request to the tokens; `ask` turns parameters into the address that the person opens. */
export async function tokens (config, given, person, DPoP, { more, ask, answer } = {}) {
  const { parameters, checks } = await begun(given, more)
  const address = await (ask ?? pushed)(config, parameters, DPoP)
  const back = await person.answer(address.href, answer)
  return client.authorizationCodeGrant(config, back, checks, undefined, { DPoP })
}

export function pushed (config, parameters, DPoP) {
  return client.buildAuthorizationUrlWithPAR(config, parameters, { DPoP })
}

/** Push a signed request object: built by one function of the library, pushed by another. */
export async function pushedSigned (config, parameters, DPoP, key) {
  const built = await client.buildAuthorizationUrlWithJAR(config, parameters, key)
  return client.buildAuthorizationUrlWithPAR(config, built.searchParams, { DPoP })
}
