"""Writes proof.json: vectors of the body proof (contract 19.3), with nothing but Python's standard library."""
import hashlib, hmac, json

def hkdf(token, info, length=32):  # RFC 5869; no salt is a salt of zeros
    key = hmac.new(bytes(32), token, hashlib.sha256).digest()
    block, out, count = b"", b"", 1
    while len(out) < length:
        block = hmac.new(key, block + info + bytes([count]), hashlib.sha256).digest()
        out, count = out + block, count + 1
    return out[:length]

# The first test case of RFC 5869 without salt (A.3), so that the function above is not only ours.
assert hkdf(b"\x0b" * 22, b"", 42).hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"

def proof(token, path, seconds, body):
    text = "\n".join(["POST", path, str(seconds), hashlib.sha256(body.encode()).hexdigest()])
    return "v1=" + hmac.new(hkdf(token.encode(), b"vws-agent-post-v1"), text.encode(), hashlib.sha256).hexdigest()

rows = [("t0k3n", "/api/agent/jobs/j-01HX/ack", 1779962400, ""),
        ("t0k3n", "/api/agent/cluster/decommission", 1779962400, "{}"),
        ("x" * 200, "/base/api/agent/events", 0, '{"events":[]}'),
        ("tökén", "/api/agent/jobs/a%2Fb/result", 4102444800, '{"outcome":"noop","error":"€"}')]
rows = [dict(token=t, path=p, seconds=s, body=b, proof=proof(t, p, s, b)) for t, p, s, b in rows]
print(json.dumps(rows, indent=1, ensure_ascii=False))
