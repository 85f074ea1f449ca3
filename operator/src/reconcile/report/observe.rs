//! Fresh reads of the report loop.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use futures::stream;

use super::cursor::{self, Page, Place};
use super::outbox::{self, Outbox};
use crate::api::{APPS_GROUP, OPS_GROUP, VERSION};
use crate::cluster_api::{ApiError, ClusterApi, Key, Kind, Object, Scope};
use crate::reconcile::connection::cluster_kind;

/// Reads at once.
const READS: usize = 8;

/// The two stores as read. `None` in a value: it is there and cannot be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stores {
    /// Pages that exist.
    pub pages: BTreeMap<Place, (Object, Option<Page>)>,
    /// The outbox, if it exists.
    pub outbox: Option<(Object, Option<Outbox>)>,
}

impl Stores {
    /// What the pages say.
    pub fn cursor(&self) -> BTreeMap<Place, Page> {
        self.pages.iter().filter_map(|(place, (_, page))| Some((*place, page.clone()?))).collect()
    }

    /// What the outbox says.
    pub fn outbox(&self) -> Outbox {
        self.outbox.as_ref().and_then(|(_, outbox)| outbox.clone()).unwrap_or_default()
    }

    /// The snapshot that is asked for.
    pub fn requested(&self) -> Option<&str> {
        self.pages.get(&Place::First).and_then(|(object, _)| cursor::requested(object))
    }
}

/// Reads the stores.
///
/// # Errors
/// A read failed: then nothing is known.
pub async fn stores<A: ClusterApi>(api: &A, namespace: &str) -> Result<Stores, ApiError> {
    let mut stores = Stores::default();
    if let Some(object) = api.get(&Place::First.key(namespace)).await? {
        let page = cursor::read(&object);
        let sharded = page.as_ref().is_some_and(|page| page.sharded);
        stores.pages.insert(Place::First, (object, page));
        for place in Place::shards().filter(|_| sharded) {
            if let Some(object) = api.get(&place.key(namespace)).await? {
                let page = cursor::read(&object);
                stores.pages.insert(place, (object, page));
            }
        }
    }
    stores.outbox = api.get(&outbox::key(namespace)).await?.map(|object| {
        let outbox = outbox::read(&object);
        (object, outbox)
    });
    Ok(stores)
}

/// The kinds whose journals are told.
pub fn kinds() -> [Kind; 3] {
    [
        Kind::namespaced(APPS_GROUP, VERSION, "ApplicationInstance", "applicationinstances"),
        Kind::namespaced(OPS_GROUP, VERSION, "Operation", "operations"),
        cluster_kind(),
    ]
}

/// Addresses of all objects of these kinds. The lists are lean: what an object says is read object by object.
///
/// # Errors
/// A list failed, also because a kind is not served (yet): who is not listed would count as gone.
pub async fn everybody<A: ClusterApi>(api: &A) -> Result<BTreeSet<Key>, ApiError> {
    let mut keys = BTreeSet::new();
    for kind in kinds() {
        let objects = api.list(&kind, &Scope::all().lean()).await?;
        keys.extend(objects.iter().map(|object| Key {
            kind: kind.clone(),
            namespace: object.namespace().map(String::from),
            name: object.name().into(),
        }));
    }
    Ok(keys)
}

/// Reads these objects, some at a time; those whose read failed are missing in the answer.
pub async fn objects<A: ClusterApi>(api: &A, keys: &BTreeSet<Key>) -> BTreeMap<Key, Option<Object>> {
    let reads = keys.iter().cloned().map(|key| async move {
        let answer = api.get(&key).await;
        (key, answer)
    });
    stream::iter(reads)
        .buffer_unordered(READS)
        .filter_map(|(key, answer)| async move { answer.ok().map(|object| (key, object)) })
        .collect()
        .await
}
