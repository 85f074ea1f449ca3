//! The cursor: which transition of each object was acknowledged last, and what was dropped since the last snapshot
//! (contract §3.4, §20.4, §22). One page, `vworkspace-event-cursor`, up to [`SHARD_ABOVE`] objects; above that the numbers
//! lie in sixteen further pages by the first digit of the uid, and the first page only says so.
//!
//! A page holds numbers and drop count together, so one write moves both: a drop is never counted twice, nor forgotten.
//!
//! Intake asks for a snapshot (`resync-status`) by the key `resync` beside `cursor.json`; once it was sent, `cursor.json`
//! repeats its value ([`request_snapshot`], [`served`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::journal::Mark;
use crate::cluster_api::{Key, Object};
use crate::foreign::core;
use crate::reconcile::Effect;

/// Name of the store; pages are named after it.
pub const NAME: &str = "vworkspace-event-cursor";
/// Above so many objects the numbers are spread over pages (contract §22).
pub const SHARD_ABOVE: usize = 5_000;
/// Key of the cursor in its ConfigMap.
const CURSOR: &str = "cursor.json";
/// Key by which a snapshot is asked for.
const RESYNC: &str = "resync";

/// One page as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Page {
    v: u32,
    /// Of which cluster id the control plane was told; another one knows nothing yet. First page only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// A snapshot is owed. First page only.
    #[serde(skip_serializing_if = "is_false")]
    pub snapshot: bool,
    /// The last request for a snapshot that was served. First page only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resynced: Option<String>,
    /// The numbers lie in further pages. First page only.
    #[serde(skip_serializing_if = "is_false")]
    pub sharded: bool,
    /// Transitions that were dropped since the last snapshot: they left a journal untold, or the buffer or the outbox was
    /// full.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: i64,
    /// Events that were refused by the control plane since the last snapshot.
    #[serde(skip_serializing_if = "is_zero")]
    pub refused: i64,
    /// All that were ever dropped or refused.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: i64,
    /// How much of the outbox's own drop count is in `dropped` already. First page only.
    #[serde(skip_serializing_if = "is_zero")]
    pub outbox: i64,
    /// Object uid → [`Mark::text`].
    pub acknowledged: BTreeMap<String, String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &i64) -> bool {
    *value == 0
}

impl Page {
    /// Whether it is the same page, whoever wrote it.
    pub fn says(&self, other: &Self) -> bool {
        Self { v: 0, ..self.clone() } == Self { v: 0, ..other.clone() }
    }

    /// The mark of an object.
    pub fn mark(&self, uid: &str) -> Option<Mark> {
        self.acknowledged.get(uid).and_then(|text| Mark::read(text))
    }
}

/// Which page holds an object's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The first page.
    First,
    /// One of sixteen.
    Shard(u8),
}

impl Place {
    /// Every further page.
    pub fn shards() -> impl Iterator<Item = Self> {
        (0..16).map(Self::Shard)
    }

    /// Where the number of an object lies.
    pub fn of(uid: &str, sharded: bool) -> Self {
        if !sharded {
            return Self::First;
        }
        let digit = uid.bytes().next().unwrap_or_default();
        // A uid that is no hexadecimal number has a page all the same.
        let digit = (digit as char).to_digit(16).unwrap_or(u32::from(digit) % 16);
        Self::Shard(u8::try_from(digit).unwrap_or_default())
    }

    /// The ConfigMap.
    pub fn key(self, namespace: &str) -> Key {
        let name = match self {
            Self::First => NAME.to_string(),
            Self::Shard(digit) => format!("{NAME}-{digit:x}"),
        };
        Key::namespaced(&core::config_map(), namespace, &name)
    }
}

/// What a stored page says; `None` if it cannot be read, which is not the same as an absent one.
pub fn read(stored: &Object) -> Option<Page> {
    match text(stored, CURSOR) {
        None => Some(Page::default()),
        Some(text) => super::parse(text),
    }
}

/// The snapshot that is asked for, whether or not it was sent.
pub fn requested(stored: &Object) -> Option<&str> {
    text(stored, RESYNC).filter(|token| !token.is_empty())
}

/// Whether the snapshot asked for under `token` was acknowledged.
pub fn served(stored: &Object, token: &str) -> bool {
    read(stored).and_then(|page| page.resynced).as_deref() == Some(token)
}

/// Asks for a snapshot: `token` names the request, for example the job's id. `stored` is the first page as read.
pub fn request_snapshot(stored: Option<&Object>, namespace: &str, token: &str) -> Effect {
    let key = Place::First.key(namespace);
    match stored.and_then(|stored| stored.uid()) {
        Some(uid) => Effect::Patch { key, uid, merge: json!({ "data": { RESYNC: token } }) },
        None => Effect::Create(super::config_map(&key, &[(RESYNC, token.to_string())])),
    }
}

/// How many transitions were dropped and are not healed yet, of all pages that were read: the cluster loop's
/// `BufferOverflow` (contract §20.4).
pub fn dropped<'a>(pages: impl IntoIterator<Item = &'a Object>) -> i64 {
    pages.into_iter().filter_map(read).fold(0, |sum, page| sum.saturating_add(page.dropped))
}

/// The write of a page: what is stored beside it stays.
pub fn write(place: Place, page: &Page, stored: Option<&Object>, namespace: &str) -> Effect {
    let page = Page { v: 1, ..page.clone() };
    let text = serde_json::to_string(&page).expect("numbers and texts");
    super::store_key(&place.key(namespace), stored, CURSOR, text)
}

fn text<'a>(stored: &'a Object, key: &str) -> Option<&'a str> {
    stored.0.get("data")?.get(key)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(place: Place, page: &Page) -> Object {
        let Effect::Create(mut object) = write(place, page, None, "system") else { panic!("nothing is stored yet") };
        object.0["metadata"]["uid"] = json!("u");
        object.0["metadata"]["resourceVersion"] = json!("7");
        object
    }

    #[test]
    fn a_page_survives_its_store_and_leaves_its_neighbours_alone() {
        let page = Page {
            cluster: Some("c1".into()),
            snapshot: true,
            dropped: 3,
            acknowledged: [("u1".into(), "4-9f2c01ab".into()), ("u2".into(), "5".into())].into(),
            ..Page::default()
        };
        let mut object = stored(Place::First, &page);
        let read_back = read(&object).expect("ours");
        assert_eq!(Page { v: 0, ..read_back.clone() }, page);
        assert_eq!(read_back.mark("u1"), Some(Mark { seq: 4, digest: "9f2c01ab".into() }));
        assert_eq!(dropped([&object, &object]), 6);
        object.0["data"][RESYNC] = json!("job-1");
        let Effect::Update(next) = write(Place::First, &page, Some(&object), "system") else { panic!("it is stored") };
        assert_eq!((requested(&next), next.version()), (Some("job-1"), object.version()));
    }

    #[test]
    fn a_request_for_a_snapshot_is_served_once_its_token_is_repeated() {
        let Effect::Create(mut object) = request_snapshot(None, "system", "job-1") else { panic!("a new store") };
        assert_eq!(requested(&object), Some("job-1"));
        assert!(!served(&object, "job-1"));
        assert_eq!(read(&object), Some(Page::default()));
        object.0["data"][CURSOR] = json!(r#"{"v":1,"resynced":"job-1","later":true}"#);
        assert!(served(&object, "job-1") && !served(&object, "job-2"));
        object.0["metadata"]["uid"] = json!("u");
        let Effect::Patch { merge, .. } = request_snapshot(Some(&object), "system", "job-2") else {
            panic!("it is stored")
        };
        assert_eq!(merge, json!({"data": {"resync": "job-2"}}));
    }

    #[test]
    fn an_unreadable_page_is_not_an_empty_one() {
        for odd in ["", "{", "[]", r#"{"acknowledged":[]}"#] {
            let object = Object(json!({"data": {CURSOR: odd}}));
            assert_eq!(read(&object), None, "{odd}");
        }
        assert_eq!(read(&Object(json!({}))), Some(Page::default()));
    }

    #[test]
    fn every_uid_has_a_page() {
        assert_eq!(Place::of("f00", false), Place::First);
        assert_eq!(Place::of("f00", true), Place::Shard(15));
        assert_eq!(Place::Shard(15).key("system").name, "vworkspace-event-cursor-f");
        for odd in ["", "Zz", "ü"] {
            assert!(matches!(Place::of(odd, true), Place::Shard(digit) if digit < 16));
        }
        assert_eq!(Place::shards().count(), 16);
    }

    #[test]
    fn five_thousand_numbers_fit_into_one_object() {
        let uid = |number: usize| format!("{number:08x}-0000-4000-8000-000000000000");
        let acknowledged = (0..SHARD_ABOVE).map(|number| (uid(number), "1234567-9f2c01ab".to_string())).collect();
        let Effect::Create(object) = write(Place::First, &Page { acknowledged, ..Page::default() }, None, "system")
        else {
            panic!("nothing is stored yet")
        };
        assert!(object.0.to_string().len() < 768 << 10);
    }
}
