// Somebody at a browser without scripts: reads pages, presses buttons, follows nothing that leads elsewhere.

const HIDDEN = /<input[^>]*name="(csrf_token|client_id|request_uri)"[^>]*value="([^"]*)"/g

export class Person {
  #cookies
  #origin

  constructor (origin, session) {
    this.#origin = origin
    this.#cookies = new Map([['session', session]])
  }

  /** Open `address`, press `answer`; return where the answer leads. */
  async answer (address, answer = 'share') {
    const screen = await this.#ask(address)
    const html = await screen.text()
    if (screen.status !== 200) throw new Error(`the page answered ${screen.status}`)
    const form = new URLSearchParams({ answer })
    const main = html.slice(html.indexOf('<main'))
    for (const [, name, value] of main.matchAll(HIDDEN)) form.set(name, value.replaceAll('&amp;', '&'))
    if (main.includes('name="duration"')) form.set('duration', 'year')
    for (const [, name] of main.matchAll(/name="attributes"[^>]*value="([^"]*)"/g)) form.append('attributes', name)
    const answered = await this.#ask(new URL(address, this.#origin).pathname, form)
    if (answered.status !== 303) throw new Error(`the answer was met by ${answered.status}`)
    return new URL(answered.headers.get('location'), this.#origin)
  }

  /** Open `address` of a request that is answered without a page; return where it leads. */
  async open (address) {
    const answered = await this.#ask(address)
    return new URL(answered.headers.get('location') ?? address, this.#origin)
  }

  /** Answer the newest request that waits under "Requests". */
  async approve (answer = 'share') {
    const html = await (await this.#ask('/sharing/requests')).text()
    const waiting = /href="(\/sharing\/requests\/[^"]+)">Look at/.exec(html)
    if (!waiting) throw new Error('no request waits')
    return this.answer(waiting[1], answer)
  }

  async #ask (address, form) {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const method = form ? 'POST' : 'GET'
    const headers = { cookie }
    const response = await fetch(new URL(address, this.#origin), { method, body: form, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) {
      const [name, value] = line.split(';', 1)[0].split(/=(.*)/s)
      this.#cookies.set(name, value)
    }
    return response
  }
}
