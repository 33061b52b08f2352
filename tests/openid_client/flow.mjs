// The whole way of a company through the authorization server, each step one line of JSON on standard output.
//
// Standard input is one JSON object: { issuer, session, redirect_uri, purpose, initial_access_token,
// clients: { plain, signed, sealed, approval, fresh } }, each client { client_id, key, metadata, ... }.

import assert from 'node:assert/strict'
import { text } from 'node:stream/consumers'
import { importJWK } from 'jose'
import * as client from 'openid-client'
import { LOOPBACK, begun, configured, pushed, pushedSigned, signer, tokens } from './company.mjs'
import { Person } from './person.mjs'

const given = JSON.parse(await text(process.stdin))
const person = new Person(given.issuer, given.session)

async function step (name, work) {
  try {
    const told = await work()
    console.log(JSON.stringify({ step: name, ok: true }))
    return told
  } catch (error) {
    const cause = error.cause instanceof Error ? error.cause.message : JSON.stringify(error.cause)
    console.log(JSON.stringify({ step: name, ok: false, error: `${error.code ?? error.name}: ${error.message}`, cause }))
  }
}

async function refused (promise, error) {
  await assert.rejects(promise, (caught) => {
    assert.equal(caught.error ?? caught.cause?.error ?? caught.code, error)
    return true
  })
}

// --- Discovery, and the plain way ---------------------------------------------------------------------------

const { plain, signed, sealed, approval, fresh } = given.clients
const config = await step('discovery', () => configured(given.issuer, plain))
const DPoP = client.getDPoPHandle(config, await client.randomDPoPKeyPair('ES256'))

await step('discovery by RFC 8414', async () => {
  const authentication = client.PrivateKeyJwt(await signer(plain.key))
  const found = await client.discovery(new URL(given.issuer), plain.client_id, {}, authentication, { algorithm: 'oauth2', ...LOOPBACK })
  assert.deepEqual(found.serverMetadata(), { ...config.serverMetadata() })
  assert.ok(found.serverMetadata().supportsPKCE())
})

const asked = await begun(given)
const address = await step('pushed authorization request', async () => {
  const built = await pushed(config, asked.parameters, DPoP)
  assert.deepEqual([...built.searchParams.keys()].sort(), ['client_id', 'request_uri'])
  return built
})
const back = await step('consent', () => person.answer(address.href))
await step('callback is refused with a foreign state', () =>
  refused(client.authorizationCodeGrant(config, back, { ...asked.checks, expectedState: 'x' }, undefined, { DPoP }), 'OAUTH_INVALID_RESPONSE'))
await step('callback is refused without iss', async () => {
  const without = new URL(back)
  without.searchParams.delete('iss')
  await refused(client.authorizationCodeGrant(config, without, asked.checks, undefined, { DPoP }), 'OAUTH_INVALID_RESPONSE')
})
const held = await step('authorization code', async () => {
  const answer = await client.authorizationCodeGrant(config, back, asked.checks, undefined, { DPoP })
  assert.equal(answer.token_type, 'dpop')
  assert.ok(answer.refresh_token && answer.grant_id && answer.expiresIn() <= 600)
  return answer
})
await step('ID token', () => {
  const claims = held.claims()
  assert.equal(claims.iss, given.issuer)
  assert.equal(claims.aud, plain.client_id)
  assert.equal(claims.nonce, asked.parameters.nonce)
  assert.match(claims.acr, /^urn:ucm:acr:[12]$/)
})
await step('max_age and auth_time', async () => {
  const again = await begun(given, { max_age: '3600' })
  const led = await person.answer((await pushed(config, again.parameters, DPoP)).href)
  const answer = await client.authorizationCodeGrant(config, led, { ...again.checks, maxAge: 3600 }, undefined, { DPoP })
  assert.ok(answer.claims().auth_time)
})
await step('userinfo', async () => {
  const found = await client.fetchUserInfo(config, held.access_token, held.claims().sub, { DPoP })
  assert.equal(found.name, 'Aoife Byrne')
})
await step('introspection', async () => {
  const found = await client.tokenIntrospection(config, held.access_token)
  assert.equal(found.active, true)
  assert.equal(found.sub, held.claims().sub)
  assert.ok(found.cnf.jkt)
  assert.deepEqual(await client.tokenIntrospection(config, 'made-up'), { active: false })
})
await step('rich authorization request', async () => {
  const wanted = { type: 'ucm_profile', purpose: given.purpose, attributes: ['name.full', 'email.main'] }
  const answer = await tokens(config, given, person, DPoP, { more: { authorization_details: JSON.stringify([wanted]), scope: 'openid' } })
  const [granted] = answer.authorization_details
  assert.equal(granted.purpose, given.purpose)
  assert.ok(granted.attributes.includes('name.full'))
  const looked = await client.tokenIntrospection(config, answer.access_token)
  assert.deepEqual(looked.authorization_details, answer.authorization_details)
  const unknown = JSON.stringify([{ type: 'payment' }])
  await refused(pushed(config, { ...asked.parameters, authorization_details: unknown }, DPoP), 'invalid_authorization_details')
})
await step('refresh', async () => {
  const answer = await client.refreshTokenGrant(config, held.refresh_token, { scope: 'openid' }, { DPoP })
  assert.notEqual(answer.access_token, held.access_token)
  assert.equal(answer.scope, 'openid')
  const found = await client.fetchUserInfo(config, answer.access_token, held.claims().sub, { DPoP })
  assert.deepEqual(Object.keys(found), ['sub'])
})
const own = await step('client credentials', () => client.clientCredentialsGrant(config, { scope: 'people:read' }, { DPoP }))
await step('protected resource', async () => {
  const people = new URL(`/api/v1/people/${held.claims().sub}`, given.issuer)
  const answer = await client.fetchProtectedResource(config, own.access_token, people, 'GET', null, undefined, { DPoP })
  assert.equal(answer.status, 200)
  await refused(client.fetchProtectedResource(config, 'made-up', people, 'GET', null, undefined, { DPoP }), 'OAUTH_WWW_AUTHENTICATE_CHALLENGE')
})
await step('a person who declines', async () => {
  const { parameters, checks } = await begun(given)
  const led = await person.answer((await pushed(config, parameters, DPoP)).href, 'decline')
  await refused(client.authorizationCodeGrant(config, led, checks, undefined, { DPoP }), 'access_denied')
})
await step('prompt none', async () => {
  const { parameters, checks } = await begun(given, { prompt: 'none' })
  const led = await person.open((await pushed(config, parameters, DPoP)).href)
  assert.ok((await client.authorizationCodeGrant(config, led, checks, undefined, { DPoP })).access_token)
})
await step('prompt none without a sign-in', async () => {
  const { parameters, checks } = await begun(given, { prompt: 'none' })
  const led = await new Person(given.issuer, 'nobody').open((await pushed(config, parameters, DPoP)).href)
  await refused(client.authorizationCodeGrant(config, led, checks, undefined, { DPoP }), 'login_required')
})
await step('grant management', async () => {
  const answer = await client.clientCredentialsGrant(config, { scope: 'grant_management_query' }, { DPoP })
  const grant = new URL(`${config.serverMetadata().grant_management_endpoint}/${held.grant_id}`)
  const found = await client.fetchProtectedResource(config, answer.access_token, grant, 'GET', null, undefined, { DPoP })
  assert.equal(found.status, 200)
  assert.ok((await found.json()).authorization_details)
})
await step('revocation', async () => {
  await client.tokenRevocation(config, held.refresh_token, { token_type_hint: 'refresh_token' })
  await refused(client.refreshTokenGrant(config, held.refresh_token, undefined, { DPoP }), 'invalid_grant')
  assert.deepEqual(await client.tokenIntrospection(config, held.access_token), { active: false })
})
await step('RP-initiated logout', async () => {
  const built = client.buildEndSessionUrl(config, { id_token_hint: held.id_token, state: 'st' })
  const page = await fetch(built, { redirect: 'manual' })
  assert.ok(page.status < 400, `end_session answered ${page.status}`)
})

// --- Message signing ----------------------------------------------------------------------------------------

await step('signed request object (JAR), pushed', async () => {
  const key = await signer(signed.key)
  const signing = await configured(given.issuer, signed, client.useJwtResponseMode, client.enableNonRepudiationChecks)
  const proving = client.getDPoPHandle(signing, await client.randomDPoPKeyPair('ES256'))
  const ask = (config, parameters, DPoP) => pushedSigned(config, parameters, DPoP, key)
  const answer = await tokens(signing, given, person, proving, { ask })
  assert.ok(answer.access_token)
  await refused(pushed(signing, asked.parameters, proving), 'invalid_request')
})
await step('signed authorization response (JARM)', async () => {
  const signing = await configured(given.issuer, plain, client.useJwtResponseMode)
  const { parameters, checks } = await begun(given)
  const led = await person.answer((await pushed(signing, parameters, DPoP)).href)
  assert.deepEqual([...led.searchParams.keys()], ['response'])
  const answer = await client.authorizationCodeGrant(signing, led, checks, undefined, { DPoP })
  assert.ok(answer.access_token)
})
await step('signed authorization response (JARM) with an error', async () => {
  const signing = await configured(given.issuer, plain, client.useJwtResponseMode)
  const { parameters, checks } = await begun(given)
  const led = await person.answer((await pushed(signing, parameters, DPoP)).href, 'decline')
  await refused(client.authorizationCodeGrant(signing, led, checks, undefined, { DPoP }), 'access_denied')
})
await step('signed introspection and userinfo', async () => {
  const signing = await configured(given.issuer, signed, client.useJwtResponseMode, client.enableNonRepudiationChecks)
  const proving = client.getDPoPHandle(signing, await client.randomDPoPKeyPair('ES256'))
  const key = await signer(signed.key)
  const ask = (config, parameters, DPoP) => pushedSigned(config, parameters, DPoP, key)
  const answer = await tokens(signing, given, person, proving, { ask })
  assert.equal((await client.tokenIntrospection(signing, answer.access_token)).active, true)
  const found = await client.fetchUserInfo(signing, answer.access_token, answer.claims().sub, { DPoP: proving })
  assert.equal(found.name, 'Aoife Byrne')
})
await step('encrypted ID token, userinfo and introspection', async () => {
  const key = { key: await importJWK(sealed.encryption, 'ECDH-ES+A256KW'), kid: sealed.encryption.kid, alg: 'ECDH-ES+A256KW' }
  const reading = await configured(given.issuer, sealed, (made) => client.enableDecryptingResponses(made, ['A256GCM'], key))
  const proving = client.getDPoPHandle(reading, await client.randomDPoPKeyPair('ES256'))
  const answer = await tokens(reading, given, person, proving)
  assert.equal(answer.id_token.split('.').length, 5)
  assert.equal(answer.claims().aud, sealed.client_id)
  const found = await client.fetchUserInfo(reading, answer.access_token, answer.claims().sub, { DPoP: proving })
  assert.equal(found.name, 'Aoife Byrne')
  assert.equal((await client.tokenIntrospection(reading, answer.access_token)).active, true)
})

// --- Approval away from the browser -------------------------------------------------------------------------

const calling = await configured(given.issuer, approval)
const proving = client.getDPoPHandle(calling, await client.randomDPoPKeyPair('ES256'))
const known = await tokens(calling, given, person, proving).catch(() => undefined)
const call = (more) => client.initiateBackchannelAuthentication(calling, {
  scope: 'openid profile',
  binding_message: 'W4SCT',
  authorization_details: JSON.stringify([{ type: 'ucm_profile', purpose: given.purpose }]),
  ...more
})

await step('approval away from the browser (CIBA)', async () => {
  const waiting = await call({ login_hint: known.claims().sub })
  const polled = client.pollBackchannelAuthenticationGrant(calling, waiting, undefined, { DPoP: proving })
  await person.approve()
  const answer = await polled
  assert.equal(answer.claims().sub, known.claims().sub)
  assert.equal(answer.token_type, 'dpop')
})
await step('approval that is denied (CIBA)', async () => {
  const waiting = await call({ id_token_hint: known.id_token })
  const polled = client.pollBackchannelAuthenticationGrant(calling, waiting, undefined, { DPoP: proving })
  await person.approve('decline')
  await refused(polled, 'access_denied')
})
await step('approval of nobody known (CIBA)', () => refused(call({ login_hint: 'nobody' }), 'unknown_user_id'))

// --- Dynamic registration -----------------------------------------------------------------------------------

await step('dynamic registration', async () => {
  const metadata = { client_name: 'Registered by a program', redirect_uris: [given.redirect_uri], jwks: fresh.jwks, ...fresh.metadata }
  const options = { initialAccessToken: given.initial_access_token, ...LOOPBACK }
  const made = await client.dynamicClientRegistration(new URL(given.issuer), metadata, client.PrivateKeyJwt(await signer(fresh.key)), options)
  assert.equal(made.clientMetadata().client_secret, undefined)
  assert.ok(made.clientMetadata().registration_access_token)
  const handle = client.getDPoPHandle(made, await client.randomDPoPKeyPair('ES256'))
  const answer = await client.clientCredentialsGrant(made, { scope: 'people:read' }, { DPoP: handle })
  assert.equal(answer.token_type, 'dpop')
})
