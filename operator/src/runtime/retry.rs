//! When to look again after a pass that failed: the whole policy, pure.

use std::time::Duration;

use crate::cluster_api::backoff::backoff;
use crate::cluster_api::{ApiError, Key};
use crate::protocol::Trouble;
use crate::reconcile::act::Failure;

/// The longest delay (contract §27.3); also bounds the first retry after an outage (contract §29.64).
pub const CAP: Duration = Duration::from_secs(60);
/// A key that is quiet is looked at this often (contract §27.3).
pub const RESYNC: Duration = Duration::from_secs(10 * 3600);

/// How long to wait after failure number `attempt + 1` in a row of `key`.
pub fn delay(failure: &Failure, attempt: u32, key: &Key) -> Duration {
    let doubling = backoff(attempt, key, CAP);
    match failure {
        Failure::Observe(error) | Failure::Effect { error, .. } => match error {
            ApiError::Throttled { after } => doubling.max(*after),
            // Asking again cannot help until somebody changes something, and that will wake the key.
            ApiError::Refused { .. } => backoff(u32::MAX, key, CAP),
            ApiError::Conflict { .. }
            | ApiError::FieldConflict { .. }
            | ApiError::Exists
            | ApiError::Missing
            | ApiError::Forbidden { .. }
            | ApiError::Unserved { .. }
            | ApiError::Unknown { .. } => doubling,
        },
        Failure::Call { trouble: Trouble::Throttled { after }, .. } => doubling.max(after.unwrap_or_default()),
        Failure::Call { .. } | Failure::NotLeader(_) | Failure::Overtime => doubling,
    }
}

/// When a quiet key is looked at again, spread so that many keys do not resync together.
pub fn resync(key: &Key) -> Duration {
    backoff(u32::MAX, key, RESYNC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_api::Kind;

    fn check(error: ApiError, attempt: u32, expect: std::ops::RangeInclusive<u64>) {
        let kind = Kind::namespaced("apps.vworkspace.io", "v1alpha1", "ApplicationInstance", "applicationinstances");
        let key = Key::namespaced(&kind, "shop", "crm");
        let observed = delay(&Failure::Observe(error.clone()), attempt, &key);
        let acted = delay(&Failure::Effect { effect: "x".into(), error: error.clone() }, attempt, &key);
        assert_eq!(observed, acted);
        let millis = u64::try_from(observed.as_millis()).expect("small");
        assert!(expect.contains(&millis), "{error:?} at {attempt}: {millis} ms");
    }

    #[test]
    fn delays_by_failure() {
        let after = |seconds| ApiError::Throttled { after: Duration::from_secs(seconds) };
        let why = || "x".to_string();
        check(ApiError::Conflict { why: why() }, 0, 800..=1_000);
        check(ApiError::Unknown { why: why() }, 3, 6_400..=8_000);
        check(ApiError::Unknown { why: why() }, 99, 48_000..=60_000);
        check(ApiError::Refused { why: why() }, 0, 48_000..=60_000);
        check(after(7), 0, 7_000..=7_000);
        check(after(7), 5, 25_600..=32_000);
        check(after(3600), 0, 3_600_000..=3_600_000);
    }

    #[test]
    fn resync_is_about_ten_hours() {
        let kind = Kind::cluster("", "v1", "Namespace", "namespaces");
        let delay = resync(&Key::cluster(&kind, "shop"));
        assert!(delay > Duration::from_secs(8 * 3600 - 1) && delay <= RESYNC, "{delay:?}");
    }
}
