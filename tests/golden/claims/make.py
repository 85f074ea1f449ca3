"""Makes vectors.json. vws1 by Python's standard library; vws2 by jwcrypto (pip install jwcrypto). Keys are throw-away."""
import base64, hashlib, hmac, json
from jwcrypto import jwk, jws

def b64(data): return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
def compact(value): return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()

HMAC = bytes(range(32))
SEED = hashlib.sha256(b"vectors").digest()
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
private = Ed25519PrivateKey.from_private_bytes(SEED)
x = b64(private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
KEY = jwk.JWK(kty="OKP", crv="Ed25519", x=x, d=b64(SEED))

PARAMETERS = {"backupName": "b1", "restorePVs": True, "count": 1.0, "ü": "€"}
PH = hashlib.sha256('{"backupName":"b1","count":1,"restorePVs":true,"ü":"€"}'.encode()).hexdigest()
NOW = 1_800_000_000

def vws1(change=None, key=HMAC, raw=None):
    body = {"v": 1, "rid": 7, "op": "r1", "by": "ada", "at": "2027-01-15T08:00:00Z", "exp": NOW + 60}
    body.update(change or {})
    body = {k: v for k, v in body.items() if v is not None}
    text = b64(raw if raw is not None else compact(body))
    return f"vws1.{text}.{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"

def vws2(change=None, header=None, raw=None):
    claims = {"cid": "c1", "ns": "org-a", "tgt": "files", "op": "uid-1", "type": "Restore", "engine": "velero", "ph": PH,
              "iat": NOW - 10, "exp": NOW + 60, "jti": "j1", "by": "ada"}
    claims.update(change or {})
    claims = {k: v for k, v in claims.items() if v is not None}
    protected = {"alg": "EdDSA", "kid": "k1", "typ": "vws-approval+jwt"}
    protected.update(header or {})
    protected = {k: v for k, v in protected.items() if v is not None}
    token = jws.JWS(raw if raw is not None else compact(claims))
    token.allowed_algs = ["EdDSA", "Ed25519"]
    token.add_signature(KEY, None, json.dumps(protected))
    return "vws2." + token.serialize(compact=True)

def flip(claim):
    head, _, seal = claim.rpartition(".")
    return f"{head}.{('A' if seal[0] != 'A' else 'B') + seal[1:]}"

good1, good2 = vws1(), vws2()
rows = [
    ("vws1", good1, "vws1/7"), ("vws2 by uid", good2, "vws2/k1/j1"), ("vws2 by name", vws2({"op": "r1"}), "vws2/k1/j1"),
    ("vws2 with what is not required", vws2({"req": "bob", "nbf": NOW, "rid": 3, "at": "x", "extra": [1]}), "vws2/k1/j1"),
    ("vws2 iat within leeway", vws2({"iat": NOW + 60}), "vws2/k1/j1"),
    ("surrounded by blanks", f" {good1}\n", "vws1/7"),
    ("vws1 at its last second", vws1({"exp": NOW}), "vws1/7"),
    ("vws1 expired", vws1({"exp": NOW - 1}), "expired"),
    ("vws1 of another Operation", vws1({"op": "r2"}), "another Operation"),
    ("vws1 of another version", vws1({"v": 2}), "v is not 1"),
    ("vws1 without rid", vws1({"rid": None}), "malformed"),
    ("vws1 rid as text", vws1({"rid": "7"}), "malformed"),
    ("vws1 by another key", vws1(key=b"x" * 32), "does not verify"),
    ("vws1 no JSON", vws1(raw=b"hello"), "malformed"),
    ("vws1 upper-case hex", good1.rpartition(".")[0] + "." + good1.rpartition(".")[2].upper(), "lower-case hex"),
    ("vws1 two parts", good1.rpartition(".")[0], "three parts"),
    ("vws1 padded", vws1().replace(".", "=.", 2).replace("vws1=", "vws1"), "base64url"),
    ("vws2 another cluster", vws2({"cid": "c2"}), "another cluster"),
    ("vws2 another namespace", vws2({"ns": "org-b"}), "another namespace"),
    ("vws2 another target", vws2({"tgt": "chat"}), "another target"),
    ("vws2 another Operation", vws2({"op": "r2"}), "another Operation"),
    ("vws2 another type", vws2({"type": "Backup"}), "another type"),
    ("vws2 another engine", vws2({"engine": "volsync"}), "another engine"),
    ("vws2 other parameters", vws2({"ph": "00" * 32}), "another set of parameters"),
    ("vws2 expired", vws2({"exp": NOW}), "expired"),
    ("vws2 from the future", vws2({"iat": NOW + 61}), "not valid yet"),
    ("vws2 not before", vws2({"nbf": NOW + 1}), "not valid yet"),
    ("vws2 self-approved", vws2({"req": "ada"}), "requested it"),
    ("vws2 without jti", vws2({"jti": None}), "malformed"),
    ("vws2 empty jti", vws2({"jti": ""}), "malformed"),
    ("vws2 unknown key", vws2(header={"kid": "k2"}), "does not know"),
    ("vws2 of another type of token", vws2(header={"typ": "JWT"}), "typ is not"),
    ("vws2 without kid", vws2(header={"kid": None}), "malformed"),
    ("vws2 spoiled seal", flip(good2), "does not verify"),
    ("vws2 without seal", good2.rpartition(".")[0] + ".", "does not verify"),
    ("vws2 alg none", "vws2." + b64(b'{"alg":"none","kid":"k1","typ":"vws-approval+jwt"}') + "." + good2.split(".")[2] + ".", "alg is not"),
    ("vws2 alg HS256", "vws2." + b64(b'{"alg":"HS256","kid":"k1","typ":"vws-approval+jwt"}') + "." + good2.split(".")[2] + "." + good2.split(".")[3], "alg is not"),
    ("vws2 crit", "vws2." + b64(b'{"alg":"EdDSA","crit":["b64"],"b64":false,"kid":"k1","typ":"vws-approval+jwt"}') + "." + good2.split(".")[2] + "." + good2.split(".")[3], "extension"),
    ("vws2 four parts", good2 + ".x", "three parts"),
    ("neither", "vws3.a.b", "neither"), ("nothing in it", "", "no approval claim"),
    ("too long", "vws1." + "A" * 8200 + ".00", "longer than"),
]
json.dump({"now": NOW, "hmac": b64(HMAC), "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x}, "parameters": PARAMETERS, "digest": PH,
           "rows": [{"name": n, "claim": c, "expect": e} for n, c, e in rows]},
          open("vectors.json", "w"), indent=1, ensure_ascii=False)
print(len(rows), "vectors")
