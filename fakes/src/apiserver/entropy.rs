//! Uids, suffixes and other things a server draws.

/// Everything random, from the seed: one stream per purpose, so that one draw more does not change the others.
pub struct Entropy {
    seed: u64,
    uids: u64,
    audits: u64,
    suffixes: u64,
    others: u64,
}

/// Letters of generated names: no vowels, nothing that looks like another (J1).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

impl Entropy {
    /// Nothing drawn yet.
    pub fn new(seed: u64) -> Entropy {
        Entropy { seed, uids: 0, audits: 0, suffixes: 0, others: 0 }
    }

    /// The next uid, version 4 in form.
    pub fn uid(&mut self) -> String {
        self.uids += 1;
        uuid(self.seed ^ 0x5569_6473, self.uids)
    }

    /// The next `Audit-Id` of an answer (M5).
    pub fn audit_id(&mut self) -> String {
        self.audits += 1;
        uuid(self.seed ^ 0x4175_6469, self.audits)
    }

    /// The next five-letter suffix of a generated name.
    pub fn suffix(&mut self) -> String {
        self.suffixes += 1;
        let mut bits = mix(self.seed ^ 0x6e61_6d65, self.suffixes);
        let letters = (0..5).map(|_| {
            let letter = ALPHABET[(bits % ALPHABET.len() as u64) as usize];
            bits /= ALPHABET.len() as u64;
            char::from(letter)
        });
        letters.collect()
    }

    /// A number below `bound` for everything else, such as a default watch timeout.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.others += 1;
        mix(self.seed ^ 0x6f74_6865, self.others) % bound
    }
}

fn uuid(stream: u64, draw: u64) -> String {
    let high = mix(stream, draw * 2);
    let low = mix(stream, draw * 2 + 1);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

/// SplitMix64 of the n-th draw of a stream.
fn mix(stream: u64, draw: u64) -> u64 {
    let mut z = stream.wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
