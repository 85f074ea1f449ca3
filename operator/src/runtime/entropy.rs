//! The injected source of randomness, for ids that nobody may guess (design §6): pending registrations and rotations.

use std::fmt;
use std::sync::Arc;

use ring::rand::{SecureRandom, SystemRandom};

/// Draws random bytes. A value, so that the simulator can repeat a run.
#[derive(Clone)]
pub struct Entropy(Arc<Fill>);

type Fill = dyn Fn(&mut [u8; 16]) + Send + Sync;

impl Entropy {
    /// A source that asks `fill`.
    pub fn new(fill: impl Fn(&mut [u8; 16]) + Send + Sync + 'static) -> Self {
        Self(Arc::new(fill))
    }

    /// The source of the machine.
    pub fn system() -> Self {
        let random = SystemRandom::new();
        Self::new(move |bytes| random.fill(bytes).expect("the kernel gives random bytes"))
    }

    /// A new id: 32 hex digits.
    pub fn id(&self) -> String {
        let mut bytes = [0; 16];
        (self.0)(&mut bytes);
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy")
    }
}
