//! Names of children (contract §3.5): pure functions of uid and spec, so that a repeated create meets its first one.

use sha2::{Digest, Sha256};

/// Lower-case hex SHA-256 of the parts, each followed by a line feed so that no two lists of parts read the same.
pub fn digest(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn short(parts: &[&str], characters: usize) -> String {
    let mut hex = digest(parts);
    hex.truncate(characters);
    hex
}

/// The HelmRepository of a release. Older agents gave OCI sources the same name.
pub fn helm_repository(release: &str) -> String {
    format!("{release}-source")
}

/// The OCIRepository of one chart version of a release.
pub fn oci_repository(release: &str, url: &str, chart: &str, version: &str) -> String {
    format!("{release}-source-{}", short(&[url, chart, version], 8))
}

/// Whether `name` is that of some OCIRepository of the release.
pub fn is_oci_repository(name: &str, release: &str) -> bool {
    name.strip_prefix(release).and_then(|rest| rest.strip_prefix("-source-")).is_some_and(is_short_hex)
}

/// The generated ConfigMap with a part of the values.
pub fn values_config_map(release: &str, content: &str) -> String {
    format!("{release}-vws-values-{}", short(&[content], 8))
}

/// Whether `name` is that of some generated ConfigMap of the release.
pub fn is_values_config_map(name: &str, release: &str) -> bool {
    name.strip_prefix(release).and_then(|rest| rest.strip_prefix("-vws-values-")).is_some_and(is_short_hex)
}

fn is_short_hex(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The Lease that locks a target.
pub fn target_lease(target: &str) -> String {
    // Exactly the target name is hashed: contract §3.5.
    let mut hash = Sha256::new();
    hash.update(target.as_bytes());
    let hex: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("vws-target-{hex}")
}

/// Velero Backup and Restore, and the Argo CD Application, of one uid.
pub fn by_uid(uid: &str) -> String {
    format!("vws-{uid}")
}

/// The short name of an Operation's children.
pub fn operation_child(name: &str, uid: &str) -> String {
    let hex: String = uid.chars().filter(char::is_ascii_hexdigit).take(8).collect();
    let short = format!("{name}-{hex}");
    if short.len() <= 52 { short } else { format!("op-{uid}") }
}

/// A Kubernetes Event about one transition of one object: the same transition always gives the same name.
pub fn event(object: &str, uid: &str, seq: i64, reason: &str) -> String {
    let hash = short(&[uid, &seq.to_string(), reason], 16);
    let mut stem = object.to_string();
    stem.truncate(200);
    format!("{stem}.{hash}")
}

/// An opaque token for `reconcile.fluxcd.io/*`: the same cause always gives the same token.
pub fn token(purpose: &str, parts: &[&str]) -> String {
    format!("vws-{purpose}-{}", short(parts, 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_names_follow_the_contract() {
        assert_eq!(helm_repository("files"), "files-source");
        let oci = oci_repository("files", "oci://charts.example.org/apps", "nextcloud", "6.6.0");
        assert!(is_oci_repository(&oci, "files"), "{oci}");
        assert_ne!(oci, oci_repository("files", "oci://charts.example.org/apps", "nextcloud", "7.0.0"));
        assert!(is_values_config_map(&values_config_map("files", "a: 1"), "files"));
        for foreign in ["files-source", "files-source-zz00zz00", "files-b-source-0123abcd", "files-source-0123abcd0"] {
            assert!(!is_oci_repository(foreign, "files"), "{foreign}");
        }
        assert_eq!(target_lease("files").len(), "vws-target-".len() + 16);
        // echo -n files | sha256sum
        assert_eq!(target_lease("files"), "vws-target-3d7db37d08f9140f");
    }

    #[test]
    fn a_short_name_longer_than_52_characters_becomes_the_uid() {
        let uid = "8f14e45f-ceea-467f-a9d1-1f2c3d4e5f60";
        assert_eq!(operation_child("nightly", uid), "nightly-8f14e45f");
        assert_eq!(operation_child(&"n".repeat(60), uid), format!("op-{uid}"));
        assert_eq!(operation_child(&"n".repeat(43), uid).len(), 52);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
