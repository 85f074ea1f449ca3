//! Which volumes a backup really holds: Velero reports Completed for one that skipped what it cannot save.

use std::collections::BTreeSet;

use crate::foreign::velero::{Moved, Work};

/// Volumes that nothing proves to be in the backup.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uncovered {
    pub(super) count: usize,
    /// Their names, where every covered one is named.
    pub(super) names: Vec<String>,
}

/// The sum of contract §10.2. A snapshot that was moved is counted by its DataUpload and, in some versions, by the CSI
/// counter, too: it counts once.
pub(super) fn uncovered(volumes: &[&str], work: &Work, uploads: &[Moved], files: &[Moved]) -> Option<Uncovered> {
    let complete = |list: &[Moved]| list.iter().filter(|moved| moved.complete).cloned().collect::<Vec<_>>();
    let (uploads, files) = (complete(uploads), complete(files));
    let named: BTreeSet<&str> = uploads
        .iter()
        .chain(&files)
        .filter_map(|moved| moved.claim.as_deref())
        .filter(|name| volumes.contains(name))
        .collect();
    let moved = i64::try_from(uploads.len()).unwrap_or(i64::MAX);
    let csi = work.csi.1.unwrap_or_default().saturating_sub(moved).max(0);
    let nameless = csi.saturating_add(work.native.unwrap_or_default());
    let covered = named.len().saturating_add(usize::try_from(nameless).unwrap_or(usize::MAX));
    let count = volumes.len().saturating_sub(covered);
    let names = match nameless {
        0 => volumes.iter().filter(|name| !named.contains(*name)).map(|name| (*name).to_string()).collect(),
        _ => Vec::new(),
    };
    (count > 0).then_some(Uncovered { count, names })
}

/// Bytes of everything that was moved or copied; `None` unless all of it says so.
pub(super) fn bytes(uploads: &[Moved], files: &[Moved]) -> Option<i64> {
    let complete: Vec<&Moved> = uploads.iter().chain(files).filter(|moved| moved.complete).collect();
    if complete.is_empty() {
        return None;
    }
    complete.iter().try_fold(0_i64, |sum, moved| sum.checked_add(moved.bytes?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster_api::Object;

    fn moved(claim: Option<&str>, complete: bool, bytes: Option<i64>) -> Moved {
        Moved { claim: claim.map(String::from), complete, bytes }
    }

    #[test]
    fn the_sum_is_the_contracts() {
        let work = |csi: i64, native: i64| {
            Work::read(&Object(
                json!({"status": {"csiVolumeSnapshotsCompleted": csi, "volumeSnapshotsCompleted": native}}),
            ))
        };
        let done = |name: &str| moved(Some(name), true, None);
        for (case, volumes, work, uploads, files, expect) in [
            ("no volumes", vec![], work(0, 0), vec![], vec![], None),
            ("all by CSI", vec!["a", "b"], work(2, 0), vec![], vec![], None),
            ("both counters", vec!["a", "b"], work(1, 1), vec![], vec![], None),
            ("one skipped, nameless", vec!["a", "b"], work(1, 0), vec![], vec![], Some((1, vec![]))),
            ("all skipped", vec!["a", "b"], work(0, 0), vec![], vec![], Some((2, vec!["a", "b"]))),
            ("one named", vec!["a", "b"], work(0, 0), vec![], vec![done("a")], Some((1, vec!["b"]))),
            (
                "upload not complete",
                vec!["a"],
                work(0, 0),
                vec![moved(Some("a"), false, None)],
                vec![],
                Some((1, vec!["a"])),
            ),
            ("moved counts once", vec!["a", "b"], work(1, 0), vec![done("a")], vec![], Some((1, vec!["b"]))),
            ("moved, not counted by CSI", vec!["a"], work(0, 0), vec![done("a")], vec![], None),
            ("twice the same", vec!["a", "b"], work(0, 0), vec![done("a")], vec![done("a")], Some((1, vec!["b"]))),
            ("of no bound claim", vec!["a"], work(0, 0), vec![], vec![done("z")], Some((1, vec!["a"]))),
            ("without a name", vec!["a"], work(0, 0), vec![], vec![moved(None, true, None)], Some((1, vec!["a"]))),
            ("more than there are", vec!["a"], work(9, 9), vec![], vec![], None),
            (
                "odd counter",
                vec!["a"],
                Work::read(&Object(json!({"status": {"csiVolumeSnapshotsCompleted": "1"}}))),
                vec![],
                vec![],
                Some((1, vec!["a"])),
            ),
        ] {
            let found = uncovered(&volumes, &work, &uploads, &files).map(|found| (found.count, found.names));
            let expect =
                expect.map(|(count, names): (usize, Vec<&str>)| (count, names.into_iter().map(String::from).collect()));
            assert_eq!(found, expect, "{case}");
        }
    }

    #[test]
    fn a_size_is_told_only_if_all_is_known() {
        assert_eq!(bytes(&[], &[]), None);
        assert_eq!(bytes(&[moved(None, true, Some(1))], &[moved(None, true, Some(2))]), Some(3));
        assert_eq!(bytes(&[moved(None, true, Some(1)), moved(None, true, None)], &[]), None);
        assert_eq!(bytes(&[moved(None, false, Some(1))], &[]), None);
        assert_eq!(bytes(&[moved(None, true, Some(i64::MAX)), moved(None, true, Some(1))], &[]), None);
    }
}
