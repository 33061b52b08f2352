"""Addresses that must not be called, in every spelling that has fooled somebody."""

from __future__ import annotations

PUBLIC = "93.184.215.14"
URL = "https://receiver.example.com/in"
# Where an honest-looking name may lead, one or several answers, by the design's order: all of them are refused.
ANSWERS = {
    "loopback": ["127.0.0.1"], "far end of loopback": ["127.255.255.254"], "this host": ["0.0.0.0"],  # noqa: S104
    "private 10": ["10.0.0.1"], "private 172": ["172.16.0.1"], "private 192": ["192.168.1.1"],
    "cloud metadata": ["169.254.169.254"], "carrier-grade": ["100.64.0.1"], "Alibaba metadata": ["100.100.100.200"],
    "IETF": ["192.0.0.1"], "Oracle metadata": ["192.0.0.192"], "documentation": ["192.0.2.1"],
    "documentation 2": ["198.51.100.1"], "documentation 3": ["203.0.113.1"], "benchmark": ["198.18.0.1"],
    "Azure wire server": ["168.63.129.16"], "6to4 relay": ["192.88.99.1"], "multicast": ["224.0.0.1"],
    "scoped multicast": ["239.255.255.255"], "reserved": ["240.0.0.1"], "broadcast": ["255.255.255.255"],
    "unspecified v6": ["::"], "loopback v6": ["::1"], "compatible": ["::127.0.0.1"], "mapped": ["::ffff:127.0.0.1"],
    "mapped public": ["::ffff:93.184.215.14"], "mapped in hex": ["::ffff:7f00:1"],
    "translated": ["::ffff:0:127.0.0.1"], "NAT64": ["64:ff9b::7f00:1"], "NAT64 of metadata": ["64:ff9b::a9fe:a9fe"],
    "local NAT64": ["64:ff9b:1::1"], "discard": ["100::1"], "Teredo": ["2001::1"], "ORCHID": ["2001:20::1"],
    "documentation v6": ["2001:db8::1"], "documentation v6 2": ["3fff::1"], "6to4": ["2002:7f00:1::"],
    "segment routing": ["5f00::1"], "unique local": ["fc00::1"], "AWS metadata v6": ["fd00:ec2::254"],
    "link local": ["fe80::1"], "link local with zone": ["fe80::1%eth0"], "public with zone": ["2a00:1450::1%1"],
    "site local": ["fec0::1"], "multicast v6": ["ff02::1"], "not an address": ["garbage"], "empty": [""],
    "decimal": ["2130706433"], "octal": ["0177.0.0.1"], "short": ["127.1"],
    "mixed, private last": [PUBLIC, "127.0.0.1"], "mixed, private first": ["10.0.0.1", PUBLIC],
    "mixed families": [PUBLIC, "::1"], "mixed, mapped": ["2606:2800:220:1::1", "::ffff:10.0.0.1"], "nowhere": [],
}  # fmt: skip
# URLs that are refused wherever they lead.
FORMS = {
    "plain": "http://receiver.example.com/", "ftp": "ftp://receiver.example.com/", "file": "file:///etc/passwd",
    "gopher": "gopher://a.example.com/", "dict": "dict://a.example.com:443/", "ws": "wss://receiver.example.com/",
    "no scheme": "//receiver.example.com/", "no slashes": "receiver.example.com", "nothing": "", "no host": "https://",
    "no host but a path": "https:///x", "no host but a query": "https://?x", "one slash": "https:/receiver.example.com",
    "scheme alone": "HTTPS:receiver.example.com", "address": "https://127.0.0.1/", "public address": f"https://{PUBLIC}/",
    "decimal": "https://2130706433/", "hex": "https://0x7f000001/", "octal": "https://0177.0.0.1/",
    "short": "https://127.1/", "partly hex": "https://0x7f.0.0.1/", "overflowing": "https://127.0.0.1.4294967296/",
    "hex at the end": "https://1.2.3.0x4/", "v6": "https://[::1]/", "v6 mapped": "https://[::ffff:127.0.0.1]/",
    "v6 with zone": "https://[fe80::1%25eth0]/", "v6 unclosed": "https://[::1/", "future literal": "https://[v1.a]/",
    "localhost": "https://localhost/", "localhost with a dot": "https://localhost./", "intranet": "https://intranet/",
    "numeric top": "https://a.b.1/", "circled digits": "https://①②⑦.⓪.⓪.①/", "full-width dots": "https://127。0。0。1/",
    "soft hyphen": "https://receiver\u00ad.example.com/", "Cyrillic letter": "https://rec\u0435iver.example.com/",
    "user": "https://user@receiver.example.com/", "user and password": "https://user:pw@receiver.example.com/",
    "empty user": "https://@receiver.example.com/", "user that looks like a host": "https://receiver.example.com@127.0.0.1/",
    "two users": "https://a@b@receiver.example.com/", "percent host": "https://receiver%2eexample.com/",
    "backslash": "https://receiver.example.com\\@127.0.0.1/", "backslashes": "https:\\\\receiver.example.com/",
    "line end in path": "https://receiver.example.com/\r\nX: y", "line end in host": "https://receiver.example.com\r\n/",
    "newline at the end": "https://receiver.example.com/\n", "space": "https://receiver.example.com/ x",
    "space before": " https://receiver.example.com/", "tab": "https://receiver.example.com\t/",
    "null": "https://receiver.example.com\x00/", "fragment": "https://receiver.example.com/#part",
    "port 22": "https://receiver.example.com:22/", "port 0": "https://receiver.example.com:0/",
    "port 80": "https://receiver.example.com:80/", "port 8080": "https://receiver.example.com:8080/",
    "port too large": "https://receiver.example.com:99999/", "port round the clock": "https://receiver.example.com:65979/",
    "port in letters": "https://receiver.example.com:x/", "port in other digits": "https://receiver.example.com:\uff14\uff14\uff13/",
    "negative port": "https://receiver.example.com:-443/", "two ports": "https://receiver.example.com:443:22/",
    "hyphen first": "https://-a.example.com/", "hyphen last": "https://a-.example.com/",
    "empty label": "https://a..example.com/", "dot first": "https://.example.com/", "dot last": "https://receiver.example.com./",
    "underscore": "https://a_b.example.com/", "too long": "https://receiver.example.com/" + "a" * 2048,
    "label too long": "https://" + "a" * 64 + ".example.com/", "name too long": f"https://{'a.' * 130}example.com/",
}  # fmt: skip
