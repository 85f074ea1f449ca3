//! Where randomness comes from during a run: nowhere but the case.
//!
//! The C library's `getrandom` and `getentropy` are defined here and, being in the executable, win over the library's own.
//! On a thread where [`Run::install`] was called they hand out a stream that is a function of the entropy seed; on every
//! other thread they ask the kernel. So std's hash keys (kube-runtime iterates std maps: their order decides who runs
//! next), ahash and fastrand follow the seed, and two runs of one case take the same turns.
//!
//! What this does not cover: code that makes the raw system call itself (getrandom 0.2), and the CPU's random
//! instruction. Neither lies on the simulated path. Time needs no shim: it is injected.
//!
//! The only unsafe code of the workspace is here.
#![allow(unsafe_code, reason = "interposing two C functions")]

use std::cell::Cell;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::OnceLock;

use ahash::random_state::RandomSource;

thread_local! {
    // Both are plain values with constant initialisers and no destructor: the shim may be called before and after
    // everything else on a thread, and must never allocate.
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    static DRAWS: Cell<u64> = const { Cell::new(0) };
}

/// A step of splitmix64: small, and good enough for hash keys.
fn step(state: u64) -> (u64, u64) {
    let next = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = next;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (next, mixed ^ (mixed >> 31))
}

/// Fills the buffer from the thread's stream; `false` when no run is installed on this thread.
fn fill(buffer: &mut [u8]) -> bool {
    let Some(mut state) = STATE.try_with(Cell::get).ok().flatten() else { return false };
    for chunk in buffer.chunks_mut(8) {
        let (next, word) = step(state);
        state = next;
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    STATE.with(|cell| cell.set(Some(state)));
    DRAWS.with(|cell| cell.set(cell.get() + 1));
    true
}

/// The kernel's answer, for threads without a run.
unsafe fn kernel(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    // SAFETY: the caller's pointer and length, passed on unchanged.
    let answer = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
    answer as isize
}

/// The C library's `getrandom`, see the module head.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes, as for the function it stands in for.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
    if buffer.is_null() || length == 0 {
        // SAFETY: the kernel judges odd arguments itself.
        return unsafe { kernel(buffer, length, flags) };
    }
    // SAFETY: promised by the caller.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    if fill(bytes) {
        return length as isize;
    }
    // SAFETY: as above.
    unsafe { kernel(buffer, length, flags) }
}

/// The C library's `getentropy`, see the module head.
///
/// # Safety
/// `buffer` must be valid for writes of `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut c_void, length: usize) -> c_int {
    // SAFETY: the same promise.
    let written = unsafe { getrandom(buffer, length, 0) };
    if written == length as isize { 0 } else { -1 }
}

/// ahash's keys during simulations: one constant, the same in every process.
struct Constant;

impl RandomSource for Constant {
    fn gen_hasher_seed(&self) -> usize {
        0x5eed_0fa4
    }
}

/// Fixes everything that is drawn once per process. Must run before anything else draws.
///
/// # Errors
/// ahash already had a source: some map was built earlier, and runs of this process would not repeat elsewhere.
pub fn prime() -> Result<(), &'static str> {
    static PRIMED: OnceLock<Result<(), &'static str>> = OnceLock::new();
    *PRIMED.get_or_init(|| {
        let run = Run::install(0);
        let set = ahash::random_state::set_random_source(Constant);
        let _keys = ahash::RandomState::new();
        drop(run);
        set.map_err(|_| "ahash drew its keys before the simulator could set them: call entropy::prime() first in main")
    })
}

/// The shim, installed on this thread until dropped.
pub struct Run(());

impl Run {
    /// Makes this thread's randomness a function of `seed`. On a fresh thread, and before any map or runtime is built on
    /// it: std caches its hash keys per thread.
    pub fn install(seed: u64) -> Self {
        STATE.with(|cell| cell.set(Some(seed ^ 0x0076_7773_696d)));
        DRAWS.with(|cell| cell.set(0));
        fastrand::seed(seed);
        Self(())
    }
}

/// How often this thread asked for randomness since the shim was installed. A change of this number in a known case means
/// that somebody added an ambient source.
pub fn draws() -> u64 {
    DRAWS.with(Cell::get)
}

impl Drop for Run {
    fn drop(&mut self) {
        STATE.with(|cell| cell.set(None));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher;

    use super::*;

    fn on_fresh_thread(seed: Option<u64>) -> (u64, u64, u64) {
        std::thread::Builder::new()
            .spawn(move || {
                let run = seed.map(Run::install);
                let hashed = RandomState::new().hash_one("key");
                let mut bytes = [0; 8];
                // SAFETY: a live buffer of eight bytes.
                assert_eq!(unsafe { getrandom(bytes.as_mut_ptr().cast(), 8, 0) }, 8);
                drop(run);
                (hashed, u64::from_le_bytes(bytes), draws())
            })
            .expect("a thread")
            .join()
            .expect("no panic")
    }

    #[test]
    fn std_hash_keys_follow_the_seed_and_are_counted() {
        let first = on_fresh_thread(Some(7));
        assert_eq!(first, on_fresh_thread(Some(7)), "same seed, same keys: the shim is linked and installed");
        assert_ne!(first.0, on_fresh_thread(Some(8)).0, "another seed, other keys");
        assert_eq!(first.2, 2, "one draw by std, one by us");
    }

    #[test]
    fn outside_a_run_the_kernel_answers() {
        assert_ne!(on_fresh_thread(None).1, on_fresh_thread(None).1);
    }

    #[test]
    fn priming_twice_is_once() {
        assert_eq!(prime(), prime());
    }
}
